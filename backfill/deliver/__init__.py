"""Deliver: send prepared batches and write down what happened. Knows nothing of jobs, columns or polars.

A batch goes through senders that wrap one another, each with one concern and all with the same face (`Sender`):

    Retried      again and again until accepted, rejected or hopeless; backs off
      Paced      waits for its turn: the pause that the target asked for, the rate in calls a second
        Guarded  lets nothing leave that has been in doubt for longer than the target remembers ids
          Recorded  durable mark, fresh sentAt, request, verdict, answer into the ledger
            Transport  one HTTP request
"""

from backfill.deliver.course import deliver
from backfill.deliver.model import Clock, DeliveryEnd, DeliveryOptions, EndKind, TargetAccess

__all__ = ["Clock", "DeliveryEnd", "DeliveryOptions", "EndKind", "TargetAccess", "deliver"]
