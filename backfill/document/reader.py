"""Reading one file: bounded before it is parsed, decoded strictly, refused with every fault that can be named."""

from __future__ import annotations

import re
import stat
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.reader import ReaderError

from backfill.document.nodes import DocumentFaultError, TreeBuilder
from backfill.document.positions import Positions, line_and_column
from backfill.errors import Fault, JobError

#: Job files are a few KB; parsing what is larger would only take long.
MOST_BYTES = 1 << 20
_RESERVED = re.compile(r"found character '(.)' that cannot start any token")
_QUOTED_START = re.compile(r"""[:\-\[{,]\s+(?:"[^"]*"|'[^']*')\s*[^\s,\]}#:]""")
_BARE_STAR = re.compile(r"(^|[\s{,\[])\*(?=[\s:,}\]]|$)")
_HINTS = (
    ("mapping values", "text with a colon and a space after it wants quotes; else look at the indentation"),
    ("quoted scalar", "a quote is opened here or above and not closed"),
    ("flow", "a { or [ is not closed, or text inside it wants quotes"),
)
_NEAR = "look at the indentation and the quotes of this line and the one above"


def read_document(path: Path, kind: str) -> Positions:
    """The file's data and positions; `faults` of it are for the caller to report beside its own.

    `kind` names the file in messages: "job file", "targets file".

    Raises:
        JobError: the file is missing, too large, no UTF-8, no YAML 1.2, no mapping, or holds what only harms.
    """
    name = str(path)
    text = read_text(path, kind)
    builder = TreeBuilder(iter(YAML(typ="safe", pure=True).parse(text)), text, name)
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
    return Positions(name, text, root, tuple(builder.faults))


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


def explain(error: YAMLError, text: str) -> tuple[int, int, str, str]:
    """Line and column from 1 (0 where unknown), a message and a hint for a file that is not YAML.

    The parser's own complaint is put in the words of somebody who wrote SQL and formats into YAML.
    """
    if isinstance(error, ReaderError):
        line, column = line_and_column(text, error.position)
        code = error.character if isinstance(error.character, int) else ord(error.character[:1])
        return line, column, f"the character U+{code:04X} cannot stand in a YAML file", "remove it"
    if not isinstance(error, MarkedYAMLError):
        return 0, 0, "is not YAML", ""
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
    lines = text.split("\n")
    written = lines[line - 1] if 0 < line <= len(lines) else ""
    message = " ".join(part for part in (error.context, error.problem) if part).replace("\n", " ")
    return line, column, f"is not YAML: {message}"[:200], hint_for(message, written, column)


def hint_for(message: str, written: str, column: int) -> str:
    """What to do about a complaint of the parser's, from its words and the line it is about."""
    reserved = _RESERVED.search(message)
    if "\\t" in message or "\t" in written[: max(column, 1)]:
        return "indent with spaces: YAML takes no tabs there"
    if reserved:
        return f"quote text that begins with `{reserved[1]}`"
    if "alias" in message or _BARE_STAR.search(written):
        return 'quote the star: "*"'
    if _QUOTED_START.search(written):
        return "text that begins with a quote ends with it: put the whole of it in the other kind of quotes"
    return next((hint for words, hint in _HINTS if words in message), _NEAR)
