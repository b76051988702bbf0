"""Receipts: what a run has done, as one file that a stranger can check (docs/proof.md has its form)."""
