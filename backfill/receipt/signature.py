"""Ed25519 signatures (RFC 8032) of receipts, by `cryptography`, an extra."""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Any

from backfill.errors import UsageError
from backfill.extras import required

ALGORITHM = "Ed25519"
_HEX = re.compile("[0-9a-f]+")
_MAKE = "`openssl genpkey -algorithm ed25519 -out key.pem` makes one"


def signed(receipt: dict[str, Any], key_file: Path) -> dict[str, Any]:
    """The receipt with a signature of its digest.

    Raises:
        UsageError: The file holds no such key, or others may read it; the extra is missing.
    """
    serialization, ed25519 = _libraries("made")
    try:
        mode = stat.S_IMODE(key_file.stat().st_mode)
        content = key_file.read_bytes()
    except OSError as error:
        raise UsageError(f"--sign {key_file}: it cannot be read: {error.strerror}", hint=_MAKE) from None
    if mode & 0o077:
        raise UsageError(f"--sign {key_file}: it is open to others (mode {mode:04o})", hint=f"chmod 600 {key_file}")
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except (ValueError, TypeError):
        raise UsageError(f"--sign {key_file}: it holds no private key without a password", hint=_MAKE) from None
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise UsageError(f"--sign {key_file}: its key is not of Ed25519", hint=_MAKE)
    public = key.public_key().public_bytes_raw().hex()
    value = key.sign(bytes.fromhex(receipt["digest"])).hex()
    return receipt | {"signature": {"algorithm": ALGORITHM, "public_key": public, "value": value}}


def signature_fault(receipt: dict[str, Any]) -> str:
    """What is wrong with the signature of a receipt; empty where it is of the key that it names.

    Raises:
        UsageError: The extra is missing.
    """
    _, ed25519 = _libraries("checked")
    try:
        told = receipt["signature"]
        if set(told) != {"algorithm", "public_key", "value"} or told["algorithm"] != ALGORITHM:
            return "its signature is of no form that is known"
        if not (_HEX.fullmatch(told["public_key"]) and _HEX.fullmatch(told["value"])):
            return "its signature is not in lower-case hex"
        key = ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(told["public_key"]))
        key.verify(bytes.fromhex(told["value"]), bytes.fromhex(receipt["digest"]))
    except _invalid():
        return "its signature is not of its digest"
    except (KeyError, TypeError, ValueError) as error:
        return f"its signature is none: {type(error).__name__}"
    return ""


def public_key_of(file: Path) -> str:
    """The public key (hex) in a PEM file; raises UsageError where there is none."""
    serialization, ed25519 = _libraries("checked")
    try:
        key = serialization.load_pem_public_key(file.read_bytes())
    except OSError as error:
        raise UsageError(f"--public-key {file}: it cannot be read: {error.strerror}") from None
    except ValueError:
        raise UsageError(
            f"--public-key {file}: it holds no public key", hint="`openssl pkey -in key.pem -pubout`"
        ) from None
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise UsageError(f"--public-key {file}: its key is not of Ed25519")
    return str(key.public_bytes_raw().hex())


def _libraries(made: str) -> tuple[Any, Any]:
    what = "signatures of receipts"
    serialization = required("cryptography.hazmat.primitives.serialization", "sign", what, made=made)
    return serialization, required("cryptography.hazmat.primitives.asymmetric.ed25519", "sign", what, made=made)


def _invalid() -> type[Exception]:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 (an extra, which is there by now)

    return InvalidSignature
