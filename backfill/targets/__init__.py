"""Where calls go: kinds of target, profiles, endpoints, write keys (reference: docs/targets.md)."""

from __future__ import annotations

from backfill.targets.forms import parse_rate
from backfill.targets.load import find_targets, load_target
from backfill.targets.secret import Secret
from backfill.targets.target import AnswerFormat, AuthScheme, Target, TargetKind

__all__ = ["AnswerFormat", "AuthScheme", "Secret", "Target", "TargetKind", "find_targets", "load_target", "parse_rate"]
