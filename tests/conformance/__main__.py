"""Does an endpoint keep the documented rules of Segment's HTTP API? `python -m tests.conformance URL [--key KEY]`.

Sends some 90 requests with some 5,000 made-up calls of the user "conformance" to the URL, and nowhere else, one after
the other, and prints a line for each rule of tests/conformance/rules.py. A host that is not loopback is asked only with
--yes: what is taken there stays there, and counts.

Exit codes: 0 each documented rule holds, as far as it can be seen; 1 one does not; 2 usage; 4 nobody there, or no time.
"""

from __future__ import annotations

import argparse
import ipaddress
import ssl
import sys
import uuid
from collections import Counter
from collections.abc import Sequence
from textwrap import wrap
from urllib.parse import urlsplit

import httpx

from tests.conformance.check import ANSWER_SECONDS, Check, Finding
from tests.conformance.rules import RULES, TOPICS

WIDTH = 80
MOST_REASONS = 3
VERDICTS = ("holds", "fails", "differs", "not asked")
_COLUMNS = "{:<40} {:<13} {:<8} {}"


def words(given: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.conformance", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url", metavar="URL", help="the endpoint, with or without /v1 at its end")
    parser.add_argument("--key", default="conformance", help="the write key that is good there; a sandbox takes any")
    parser.add_argument("--yes", action="store_true", help="send, though the host is not loopback")
    parser.add_argument("--seconds", type=float, default=120.0, help="what is not asked by then is not asked (120)")
    args = parser.parse_args(given)
    args.url = args.url.rstrip("/").removesuffix("/v1")
    place = urlsplit(args.url)
    if place.scheme not in {"http", "https"} or not place.hostname or place.query or place.fragment or place.username:
        parser.error(f"{args.url} is not the address of an endpoint, such as http://127.0.0.1:8888")
    if not is_loopback(place.hostname):
        number = sum(len(rule.asks) for rule in RULES)
        told = f"{place.hostname} is not on this machine: {number} requests with made-up calls go there, and stay there"
        if not args.yes:
            parser.error(f"{told}; say --yes to send them")
        sys.stderr.write(f"warning: {told}\n")
    return args


def is_loopback(host: str) -> bool:
    """Whether a host of a URL is this machine, by its name alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def lines(findings: Sequence[Finding]) -> list[str]:
    """The table, by topics, and what it comes to."""
    by_name = {finding.rule.name: finding for finding in findings}
    table = [_COLUMNS.format("rule", "answered", "calls", "result")]
    for topic, rules in TOPICS.items():
        table += ["", topic, *(line for rule in rules for line in rule_lines(by_name[rule.name]))]
    counts = Counter(finding.verdict for finding in findings)
    unseen = sum(finding.unseen for finding in findings)
    ends = [f"{len(findings)} rules: {', '.join(f'{counts[name]} {name}' for name in VERDICTS if counts[name])}."]
    ends += ["* stands nowhere in the documentation: who does otherwise differs, and breaks no rule"]
    if unseen:
        what = f"Not seen from outside: what became of the calls of {unseen} rules. "
        ends += [f"{what}Only the answers were looked at; a sandbox of backfill would tell the rest."]
    return [*table, "", *(part for end in ends for part in wrap(end, WIDTH))]


def rule_lines(finding: Finding) -> list[str]:
    """A rule: what was answered, whether it was seen what became of its calls, whether it holds, and why not."""
    rule = finding.rule
    counts = Counter(finding.answers)
    answered = ", ".join(f"{n}x{answer}" if n > 1 else answer for answer, n in counts.items()) or "-"
    calls = ("not seen" if finding.unseen else "seen") if rule.tells_of_calls else "-"
    result = finding.verdict.upper() if finding.why else finding.verdict
    first = _COLUMNS.format(f"  {rule.name}{'' if rule.certain else ' *'}", cut(answered, 13), calls, result).rstrip()
    more = len(finding.why) - MOST_REASONS
    reasons = [*finding.why[:MOST_REASONS], *([f"and {more} more"] if more > 0 else [])]
    return [first, *(f"      {part}" for reason in reasons for part in wrap(reason, WIDTH - 6))]


def cut(text: str, most: int) -> str:
    """The text in so many characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def main(given: Sequence[str] | None = None) -> int:
    """Ask, print, and return the exit code."""
    args = words(given)
    trust = ssl.create_default_context() if args.url.startswith("https:") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # No proxy of the environment, no redirect: only the URL that was stated is sent to.
    with httpx.Client(base_url=args.url, timeout=ANSWER_SECONDS, verify=trust, trust_env=False) as client:
        check = Check(client, RULES, key=args.key, run=f"conformance-{uuid.uuid4().hex[:12]}", seconds=args.seconds)
        try:
            findings = check.findings()
        except (httpx.HTTPError, ValueError) as error:
            sys.stderr.write(f"error: {args.url} does not answer: {error or type(error).__name__}\n")
            return 4
    sys.stdout.write("\n".join(lines(findings)) + "\n")
    verdicts = {finding.verdict for finding in findings}
    if "fails" in verdicts:
        return 1
    return 4 if "not asked" in verdicts else 0


if __name__ == "__main__":
    sys.exit(main())
