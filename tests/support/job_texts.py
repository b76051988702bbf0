"""Texts of jobs, and what they are read as or refused with."""

import textwrap
from pathlib import Path

import pytest

from backfill.errors import ExitCode, Fault, JobError
from backfill.job import Job, load_job

RULES = {"BF101": False, "BF105": True}
WHOLE = """\
version: 1
name: orders-2019-2024
generation: 2
source:
  path: ../sample_data/orders*.csv.gz
  format: csv
  csv: {delimiter: ",", quote: '"', encoding: utf-8, null_values: [""]}
  timezone: America/New_York
  columns:
    total: number
    quantity: integer
    ordered_at: {type: timestamp, format: "%Y-%m-%d %H:%M:%S", ambiguous: error, nonexistent: error}
where: status IS DISTINCT FROM 'test'
defaults: {userId: customer_id, timestamp: ordered_at, integrations: {All: false, "Actions Amplitude": true}}
rules: {BF105: warn}
calls:
  - type: track
    label: order
    when: total > 0
    message_key: [order_id]
    anonymousId: anon_id
    event: {value: Order Completed}
    properties:
      order_id: order_id
      discount_rate: {sql: "discount / nullif(total, 0)"}
      coupon: {column: coupon, nulls: keep}
      zip: {column: zip, as: text}
      age: {column: age, on_bad: omit}
      shipping.city: city
      with\\.dot: dotted
      tags: {list: [first, {value: 2}]}
      nested: {object: {inner: deep, "*": true}}
      "*": {exclude: [internal_note]}
    context: {app: {value: {name: importer}}}
  - type: identify
    message_key: content
    traits: {column: payload, plan: plan}
"""


def load(folder: Path, text: str) -> Job:
    """The job of that text."""
    path = folder / "job.yaml"
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return load_job(path, RULES)


def faults(folder: Path, text: str) -> tuple[Fault, ...]:
    """The faults a text is refused with."""
    with pytest.raises(JobError) as caught:
        load(folder, text)
    assert caught.value.exit_code is ExitCode.USAGE
    return caught.value.faults


def job_text(call: str = "", *, source: str = "path: a.csv", top: str = "", kind: str = "track") -> str:
    """A job that is sound as far as the parts given are: a call of that kind with all it needs."""
    needs = {
        "track": "event: {value: e}, userId: u",
        "identify": "userId: u",
        "page": "userId: u",
        "screen": "userId: u",
        "group": "userId: u, groupId: g",
        "alias": "userId: u, previousId: p",
    }[kind]
    needs = ", ".join(part for part in needs.split(", ") if part.split(":")[0] not in call)
    base = [f"type: {kind}", needs]
    base += ["timestamp: at"] if "timestamp" not in call else []
    base += ["message_key: id"] if "message_" not in call else []
    joined = ", ".join(part for part in [*base, call] if part)
    return f"version: 1\nname: test\nsource: {{{source}}}\n{top}\ncalls:\n  - {{{joined}}}\n"
