"""A job file proposed from a sample of a source: measured facts first, names second, and a blank where neither decides.

`source` tells format and dialect, `measure` what the columns hold (`times` what of it are times), `roles` which column
is what, `vendors` whose export it is; `write` puts that into a file, and `again` into one that was edited.
"""

from __future__ import annotations

from backfill.guess.again import added, save
from backfill.guess.propose import Asked, Guess, guess

__all__ = ["Asked", "Guess", "added", "guess", "save"]
