"""Reading one file: bounded before it is parsed, decoded strictly, refused with every fault that can be named."""

from __future__ import annotations

import stat
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from backfill.document.nodes import DocumentFaultError, TreeBuilder
from backfill.document.positions import Positions
from backfill.document.syntax import explain, line_and_column
from backfill.errors import Fault, JobError

#: Job files are a few KB; parsing what is larger would only take long.
MOST_BYTES = 1 << 20


def read_document(path: Path, kind: str) -> Positions:
    """The file's data and positions; `faults` of it are for the caller to report beside its own.

    `kind` names the file in messages: "job file", "targets file".

    Raises:
        JobError: the file is missing, too large, no UTF-8, no YAML 1.2, no mapping, or holds what only harms.
    """
    name = str(path)
    text = read_text(path, kind)
    builder = TreeBuilder(iter(YAML(typ="safe", pure=True).parse(text)), text)
    try:
        root = builder.build()
    except DocumentFaultError as fault:
        raise refused(name, kind, fault.line, fault.column, fault.message, fault.hint) from None
    except YAMLError as error:
        raise refused(name, kind, *explain(error, text)) from None
    except (ValueError, OverflowError, IndexError):  # the scanner's own slips, over "\UFFFFFFFF" for one
        raise refused(name, kind, 0, 0, "is not YAML", "look at the escapes in double quotes") from None
    if not isinstance(root.data, dict):
        raise refused(name, kind, root.line, root.column, f"a {kind} is a mapping of fields", "begin with `version: 1`")
    faults = (
        Fault(name, soft.node.line, soft.node.column, soft.path, soft.message, soft.hint)
        for soft in builder.soft_faults
    )
    return Positions(name, text, root, tuple(faults))


def read_text(path: Path, kind: str) -> str:
    """The file's text without a byte order mark; raises JobError where it is none."""
    name = str(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise refused(name, kind, 0, 0, "is not a regular file")
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise refused(name, kind, 0, 0, f"the {kind} cannot be read: {reason}") from None
    except ValueError:
        raise refused(repr(name), kind, 0, 0, "is not a valid path") from None
    if len(raw) > MOST_BYTES:
        raise refused(name, kind, 0, 0, f"is larger than {MOST_BYTES // 1024} KB; no {kind} is")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8", "replace")
        line, column = line_and_column(before, len(before))
        raise refused(name, kind, line, column, "is not UTF-8", "save the file as UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def refused(name: str, kind: str, line: int, column: int, message: str, hint: str = "") -> JobError:
    """The error for a file that cannot be read as a whole."""
    return JobError(f"{name}: the {kind} has faults", (Fault(name, line, column, "", message, hint),))
