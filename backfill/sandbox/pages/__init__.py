"""The pages that a sandbox shows in a browser: calls as they arrive, and what Segment would have made of them.

They only read, and what they show is data of strangers: the template engine escapes every value, and the policy of
every answer forbids scripts and styles but our own two files, frames, forms to elsewhere and requests to elsewhere.
"""

from backfill.sandbox.pages.access import Access, new_token
from backfill.sandbox.pages.routes import HEADERS, Pages

__all__ = ["HEADERS", "Access", "Pages", "new_token"]
