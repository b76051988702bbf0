"""Message ids: RFC 9562 version-5 UUIDs, recomputable in any language.

    ROOT      = uuid5(NAMESPACE_URL, "urn:backfill:message-id:v1")
    NAMESPACE = uuid5(ROOT, canonical([id_scope, job name, label or type, generation]))
    messageId = uuid5(NAMESPACE, canonical(key values in their declared order))
    canonical(values) = json.dumps(list of strings, ensure_ascii=False, separators=(",", ":"))

Segment's deduplication is global, not per source, so the scope of the target is part of every id.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable

ROOT = uuid.uuid5(uuid.NAMESPACE_URL, "urn:backfill:message-id:v1")

#: The scope of ids that are never to meet the live ones.
SANDBOX_SCOPE = "sandbox"


def canonical(values: Iterable[str]) -> str:
    """The values as one compact JSON array of strings, non-ASCII characters as they are."""
    return json.dumps(list(values), ensure_ascii=False, separators=(",", ":"))


def namespace(id_scope: str, job_name: str, call_scope: str, generation: int) -> uuid.UUID:
    """The namespace of one call's ids; `call_scope` is the call's label, or its type where it has none."""
    return uuid.uuid5(ROOT, canonical([id_scope, job_name, call_scope, str(generation)]))


def message_id(space: uuid.UUID, key: Iterable[str]) -> str:
    """The message id of one key: 36 characters, lower case. Slow; columns: `prepare.evaluate.message_id`."""
    return str(uuid.uuid5(space, canonical(key)))
