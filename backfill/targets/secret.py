"""Write keys: where they may come from, and how they stay out of everything that is written."""

from __future__ import annotations

import hashlib
import hmac
import stat
from pathlib import Path
from typing import Final, NoReturn

from backfill.errors import UsageError

_LONGEST: Final = 1_000


class Secret:
    """A write key whose repr and text hide it; only `reveal` gives it away."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The key itself, for the Authorization header and for nothing else."""
        return self._value

    @property
    def sha256(self) -> str:
        """SHA-256 of the key, in hex."""
        return hashlib.sha256(self._value.encode()).hexdigest()

    def __repr__(self) -> str:
        return "Secret(...)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(self._value)

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce__(self) -> NoReturn:
        message = "a write key is not to be stored"
        raise TypeError(message)


def checked_key(value: str, origin: str) -> Secret:
    """The key, spaces around it taken off; raises UsageError, which never shows it, where it cannot be one.

    `origin` says where it came from: a variable or a file.
    """
    key = value.strip()
    if not key:
        raise UsageError(f"{origin} is empty", hint="it holds the source's write key")
    if len(key) > _LONGEST or not key.isascii() or not key.isprintable() or " " in key or ":" in key:
        # HTTP Basic authentication ends the user name at the first colon (RFC 7617, section 2).
        raise UsageError(f"{origin} holds no write key", hint="a write key is one word of letters and digits")
    return Secret(key)


def key_of_file(path: Path) -> Secret:
    """The key in a file that only its owner may read; raises UsageError where it is not there or open to others."""
    try:
        with path.open(encoding="utf-8") as file:
            mode = stat.S_IMODE(path.stat().st_mode)
            text = file.read(_LONGEST + 2)
    except OSError as error:
        raise UsageError(f"the key file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"the key file {path} holds no write key", hint="it is one line of text") from None
    if mode & 0o077:
        raise UsageError(f"the key file {path} is open to others (mode {mode:04o})", hint=f"chmod 600 {path}")
    return checked_key(text, f"the key file {path}")
