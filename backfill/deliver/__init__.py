"""Deliver: send prepared batches and write down what happened. Knows nothing of jobs, columns or polars.

A batch goes through senders that wrap one another, each with one concern and all with the same face (`Sender`):

    RetryingSender          again and again until accepted, rejected or hopeless; backs off
      PacedSender           waits for its turn: the pause that the target asked for, the stated rate, the rate found out
        DedupWindowGuard    lets nothing leave that has been in doubt for longer than the target remembers ids
          RecordingSender   durable mark, fresh sentAt, request, verdict, answer into the ledger
            Transport       one HTTP request

`deliver` is imported when it is asked for: whoever only needs the vocabulary loads no HTTP client.
"""

from typing import TYPE_CHECKING

from backfill.deliver.in_doubt import undecided
from backfill.deliver.model import DeliveryEnd, DeliveryOptions, EndKind, TargetAccess
from backfill.lazy import lazily

if TYPE_CHECKING:
    from backfill.deliver.delivery import deliver

__all__ = ["DeliveryEnd", "DeliveryOptions", "EndKind", "TargetAccess", "deliver", "undecided"]

__getattr__ = lazily(__name__, {"delivery": ("deliver",)})  # httpx
