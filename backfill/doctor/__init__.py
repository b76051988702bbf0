"""Looks at what a run stands on before there is one: this machine, the state directory, the target.

Nothing is changed and nothing is sent that could be stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backfill.doctor.findings import Finding, Level, end_of, findings_json, findings_text
from backfill.doctor.machine import look_at_machine, look_at_state
from backfill.lazy import lazily

if TYPE_CHECKING:
    from backfill.doctor.target import look_at_target

__all__ = [
    "Finding",
    "Level",
    "end_of",
    "findings_json",
    "findings_text",
    "look_at_machine",
    "look_at_state",
    "look_at_target",
]

__getattr__ = lazily(__name__, {"target": ("look_at_target",)})
