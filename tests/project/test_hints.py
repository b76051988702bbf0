"""Every command and option that a message or a document names exists, and is taken by the verb it is named with."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from backfill.cli import backfill as program
from backfill.cli.group import VERBS

#: Words of other programs that stand in our texts.
OTHERS = {"--head", "--format", "--billing-project"}
#: Of mysqldump.
OTHERS |= {"--default-character-set", "--no-create-info"}
#: Of pg_dump and pg_restore, too.
OTHERS |= {"--data-only", "--encoding", "--exclude-table-data", "--load-via-partition-root", "--schema-only"}
OTHERS |= {"--schema", "--table"}
#: Of mongodump.
OTHERS |= {"--archive", "--out"}
#: Of uv.
OTHERS |= {"--python"}
FILLING = "PLACE"


def texts(repository: Path) -> Iterator[tuple[str, str]]:
    """Every text in the code: where it stands, and itself with a word for what is filled in."""
    for path in sorted((repository / "backfill").rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        inner = {part for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                parts = [str(part.value) if isinstance(part, ast.Constant) else FILLING for part in node.values]
                yield f"{path.name}:{node.lineno}", "".join(parts)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in inner:
                yield f"{path.name}:{node.lineno}", node.value


def pages(repository: Path) -> Iterator[tuple[str, str]]:
    """Every document, by its name."""
    for path in [repository / "README.md", *sorted((repository / "docs").rglob("*.md"))]:
        yield path.name, path.read_text("utf-8")


def commands(text: str) -> list[str]:
    """The commands in backticks, and those that a page's blocks have behind a prompt."""
    quoted = re.findall(r"`(backfill [^`\n]*(?:\n[^`\n]*)?)`", text)
    typed = re.findall(r"^\$ (backfill .*?)(?: +#.*)?$", text, re.MULTILINE)
    return [" ".join(found.split()) for found in [*quoted, *typed]]


def verb_of(name: str) -> click.Command | None:
    """The verb's command."""
    return program.get_command(click.Context(program), name)


def refused(command: str) -> str:
    """Why the command line would not take a command; empty where it does."""
    typed = re.sub(r" > \S+$", "", command.replace("\\|", "|"))
    words = [word for word in shlex.split(typed)[1:] if word not in ("...", "…", "&&", "&")]
    words = [FILLING if re.search(r"[|\[\]]", word) and not word.startswith("--") else word for word in words]
    if not words or words[0] in ("VERB", "--help", "--version") or not re.fullmatch("[a-z-]+", words[0]):
        return ""
    verb = verb_of(words[0])
    if verb is None:
        return f"no verb {words[0]}"
    try:
        _, rest, _ = verb.make_parser(click.Context(verb)).parse_args(words[1:])
    except click.UsageError as error:
        return error.format_message()
    return f"takes no {rest}" if rest and not any(isinstance(one, click.Argument) for one in verb.params) else ""


def test_commands_in_messages_are_taken(repository: Path) -> None:
    """Each quoted command has a verb that takes its options."""
    found = [(where, command) for where, text in texts(repository) for command in commands(text)]
    assert len(found) > 25
    assert [(*one, why) for one in found if (why := refused(one[1]))] == []


def test_commands_in_documents_are_taken(repository: Path) -> None:
    """The same of the pages."""
    found = [(where, command) for where, text in pages(repository) for command in commands(text)]
    assert len(found) > 40
    assert [(*one, why) for one in found if (why := refused(one[1]))] == []


def test_options_in_messages_and_documents_exist(repository: Path) -> None:
    """Each option that is named anywhere is one of some verb, or of another program that is named."""
    known = {"--help", "--version"} | OTHERS
    for name in VERBS:
        verb = verb_of(name)
        assert verb is not None
        known |= {each for parameter in verb.params for each in (*parameter.opts, *parameter.secondary_opts)}
    named = [
        (where, option)
        for where, text in texts(repository)
        for option in re.findall(r"(?<![\w/<!-])--[a-z][a-z-]+\b", text)
    ]
    assert len(named) > 60
    assert [one for one in named if one[1] not in known] == []


@pytest.mark.parametrize("command", ["backfill resume --retry", "backfill rejects --memory 3", "backfill fix"])
def test_a_command_that_does_not_exist_is_found(command: str) -> None:
    """The test can fail."""
    assert refused(command)
