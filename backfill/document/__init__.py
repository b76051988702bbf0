"""A YAML 1.2 file that a person wrote: its data, where each field stands, and its faults in words."""

from __future__ import annotations

from backfill.document.faults import Faults, nearest, suggest
from backfill.document.positions import Positions, field_path
from backfill.document.reader import read_document
from backfill.document.shape import FileForm, told_apart, validate
from backfill.document.variables import VARIABLE_HINT, fill_in, has_broken_variable, is_one_variable, variables_in

__all__ = [
    "VARIABLE_HINT",
    "Faults",
    "FileForm",
    "Positions",
    "field_path",
    "fill_in",
    "has_broken_variable",
    "is_one_variable",
    "nearest",
    "read_document",
    "suggest",
    "told_apart",
    "validate",
    "variables_in",
]
