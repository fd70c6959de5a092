"""The agent of a cell: registers it, takes part in auctions, keeps BBS records and containers in step.

``agent.RepAgent`` is the door for those who compose a cell, ``config`` reads its ``rep.json``. Decisions
are in ``reconcile`` (tables), ``auction``, ``runrequest`` and ``state``, all pure; the rest carries them out.
"""
