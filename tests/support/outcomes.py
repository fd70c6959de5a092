"""Ledgers and couriers with a journal in memory."""

from __future__ import annotations

from typing import Any, cast

from bbs.backoff import Backoff
from rep.outcomes.courier import Courier
from rep.outcomes.ledger import Ledger
from rep.outcomes.sender import Sender
from rep.removals import Removals
from tests.support.journals import FailingJournal

QUICK = Backoff(attempts=0, first_s=0.001, most_s=0.01)


def courier_for(
    bbs: object,
    cell_id: str = "cell-1",
    journal: FailingJournal | None = None,
    removals: Removals | None = None,
) -> Courier:
    """Sends to ``bbs``; repeats after milliseconds while it runs."""
    ledger = Ledger(journal or FailingJournal())
    sender = Sender(cast(Any, bbs), cell_id)
    return Courier(ledger, sender, removals or Removals(), probes=QUICK, repeats=QUICK, spread_s=0.001)


def idle_courier() -> Courier:
    """Has nothing to send, and no BBS."""
    return courier_for(None)
