"""Message ids by the recipe of docs/message-ids.md, and what may be wrong with the ids of users and groups."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from hashlib import sha1, sha256
from typing import Final
from uuid import NAMESPACE_URL, UUID, uuid5

from backfill.job.models import Placeholders
from backfill.limits import GROUP_ID_CHARACTERS
from backfill.placeholders import PLACEHOLDERS
from backfill.verify.values import compact

#: White space but for control characters.
_BLANKS: Final = "".join(chr(code) for code in range(0x10000) if unicodedata.category(chr(code)) == "Zs")
_PLANE: Final = 0x10000
#: Format characters that are seen: Arabic signs around numbers and text.
_SEEN: Final = {*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2}
_UUID: Final = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
#: The two bits that say the variant, put over a hexadecimal digit (RFC 9562, section 5.5).
_VARIANT: Final = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
#: Nothing can be wrong with such a text but that it stands for nobody.
_ORDINARY: Final = re.compile(r"[A-Za-z0-9_:|/-]*[A-Za-z1-9_:|/][A-Za-z0-9_:|/-]*")
_ORDINARY_LINES: Final = re.compile(r"[A-Za-z0-9_:|/\n-]*")
_ZEROS: Final = re.compile(r"^[0-]+$", re.MULTILINE)
_FLOAT: Final = re.compile(r"[+-]?[0-9]+\.0+")
_LOST: Final = re.compile(r"[+-]?[0-9]([.,][0-9]+[eE][+-]?|[eE]\+)[0-9]+")
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_TELEPHONE: Final = re.compile(r"\+[0-9][0-9 ().-]{6,}")


def namespace_of(id_scope: str, job_name: str, scope: str, generation: int) -> UUID:
    """The namespace of a call's ids."""
    root = uuid5(NAMESPACE_URL, "urn:backfill:message-id:v1")
    return uuid5(root, compact([id_scope, job_name, scope, str(generation)]))


def message_ids(namespace: UUID, keys: Sequence[str | None]) -> list[str | None]:
    """The version-5 UUID of each key's canonical text."""
    before = sha1(namespace.bytes, usedforsecurity=False)
    found: list[str | None] = []
    for key in keys:
        if key is None:
            found.append(None)
            continue
        digest = before.copy()
        digest.update(key.encode())
        text = digest.hexdigest()
        found.append(f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{_VARIANT[text[16]]}{text[17:20]}-{text[20:32]}")
    return found


def id_bytes(message_id: str, *, given: bool) -> bytes:
    """The sixteen bytes that stand for an id: a UUID's own, where it is one in lower case, else of its SHA-256."""
    if not given or _UUID.fullmatch(message_id):
        return bytes.fromhex(message_id.replace("-", ""))
    return sha256(message_id.encode()).digest()[:16]


def is_uuid_4(text: str) -> bool:
    """Whether a text is a UUID of version 4 as RFC 9562 writes them."""
    try:
        return str(UUID(text)) == text.lower() and UUID(text).version == 4  # noqa: PLR2004
    except ValueError:
        return False


def is_unseen(character: str) -> bool:
    """Whether it is a control character, or one without width, of the first 65,536."""
    code = ord(character)
    return unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp") and code < _PLANE and code not in _SEEN


def suspects(texts: Iterable[str | None], own: Placeholders) -> set[str]:
    """The texts that something may be wrong with, of ids that are there. Mostly one look at all of them finds none."""
    words = {*PLACEHOLDERS, *own.add}
    there = {text for text in set(texts) if text}
    lines = "\n".join(there)
    if (
        _ORDINARY_LINES.fullmatch(lines)
        and lines.count("\n") < max(1, len(there))
        and _ZEROS.search(lines) is None
        and words.isdisjoint(map(str.lower, there))
        and max(map(len, there), default=0) <= GROUP_ID_CHARACTERS
    ):
        return set()
    return {
        text
        for text in there
        if _ORDINARY.fullmatch(text) is None or text.lower() in words or len(text) > GROUP_ID_CHARACTERS
    }


def faults_of_id(text: str, field: str, own: Placeholders, *, from_float: bool) -> set[str]:
    """The codes of what is wrong with an id that is there; whether a float lost its digits is asked elsewhere."""
    bare = text.strip(_BLANKS).lower()
    nobody = bare in PLACEHOLDERS or bare in own.add or not bare.strip("0-")
    found = {"BF105"} if nobody and bare not in own.allow else set()
    if field == "groupId" and len(text) > GROUP_ID_CHARACTERS:
        found.add("BF104")
    formula = text.startswith('="') and text.endswith('"') and len(text) > 2 and "\n" not in text  # noqa: PLR2004
    contact = field != "groupId" and (_EMAIL.fullmatch(text) or _TELEPHONE.fullmatch(text))
    odd = {
        "BF115": _FLOAT.fullmatch(text) is not None,
        "BF119": formula or any(map(is_unseen, text)),
        "BF120": not from_float and _LOST.fullmatch(text) is not None,
        "BF121": text != text.strip(_BLANKS),
        "BF124": bool(contact),
    }
    return found | {code for code, is_odd in odd.items() if is_odd}
