"""`backfill explain`: what a code means, or what a job compiles to."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from backfill.cli.layout import wrap
from backfill.cli.named import JOB_SUFFIXES, CodeType, PathType
from backfill.cli.options import voice_options
from backfill.cli.session import Session, columns


@click.command("explain", short_help="What a code means, or what a job compiles to.")
@click.argument("words", nargs=-1, type=CodeType(), metavar="[CODE|WORDS|JOB...|DIR]")
@voice_options
def command(session: Session, *, words: tuple[str, ...]) -> None:
    """\b
    backfill explain BF113
    backfill explain exit 6
    backfill explain too few fields
    backfill explain jobs/01-users.yaml

    Say what a problem code, an exit code, an answer of the target or a kind of error means: why it matters, an example,
    what to do. Words find the page that has them; without any, all pages are listed.

    Of a path that is there, or that ends in .yaml, show what the job compiles to: where rows come from and what is done
    with them, and for each call the column, constant or DuckDB SQL that each of its values is, `defaults` and shapes
    written out. Nothing is read but the job file.
    """  # noqa: D205, D301, D415
    if any(Path(word).suffix in JOB_SUFFIXES or Path(word).exists() for word in words):
        explain_jobs(session, words)
    else:
        explain_code(session, " ".join(words))


def explain_jobs(session: Session, words: Sequence[str]) -> None:
    """Show what jobs compile to.

    Raises:
        JobError: A job file is wrong.
        UsageError: A word is no job file, or a folder holds none.
    """
    from backfill.cli.arguments import expand_job_paths, load_jobs
    from backfill.report.explain import explain_text

    kind = PathType()
    width = columns(sys.stdout)
    for job in load_jobs(expand_job_paths([Path(kind.convert(word, None, None)) for word in words])):
        text = explain_text(job)
        session.data(wrap(text, width) if width else text, raw=True)


def explain_code(session: Session, asked: str) -> None:
    """Show the page that is meant, or list those that may be.

    Raises:
        UsageError: No page is like it.
    """
    from backfill.errors import UsageError
    from backfill.explain import all_pages, index_text, near, page_text, search

    pages = all_pages()
    found = search(asked, pages) if asked else list(pages.values())
    width = columns(sys.stdout)
    if not found:
        meant = near(asked, pages)
        hint = f"did you mean {' or '.join(meant)}? " if meant else ""
        raise UsageError(f"nothing here explains {asked!r}", hint=f"{hint}`backfill explain` alone lists everything")
    if len(found) == 1:
        text = page_text(found[0])
        session.data(wrap(text, width, hanging=0) if width else text, raw=True)
        return
    if asked:
        session.say(f"Of {asked!r} there are several; `backfill explain CODE` shows one:")
    session.data(index_text(found))
