"""Files that several machines reach: put whole or not at all, got, listed and removed; in a folder or in a bucket.

`place` says what is asked of such a place, `folder` and `bucket` are the two there are. Above them `files` keeps files
by name, each with its SHA-256, and `cache` bounds what lies of them on this machine.
"""

from backfill.shared.cache import Cache, cache_in, is_written
from backfill.shared.files import SharedFiles
from backfill.shared.place import SharedPlace, open_place, place_url

__all__ = ["Cache", "SharedFiles", "SharedPlace", "cache_in", "is_written", "open_place", "place_url"]
