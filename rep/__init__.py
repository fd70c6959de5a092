"""The cell agent: registers the cell, takes part in auctions, keeps BBS records and containers in step.

Entry points: ``agent.RepAgent`` runs a cell, ``config`` reads its ``rep.json``. The decisions are pure:
``reconcile`` (tables), ``auction``, ``runrequest`` and ``state``. The other modules carry them out.
"""
