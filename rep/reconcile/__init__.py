"""Reconciliation of BBS and executor: the actions after an event or a bulk pass.

``batch``, ``lrp``, ``tasks`` and ``residual`` decide, in terms of ``commands``. ``processor`` executes.
``queue``, ``consumer`` and ``bulk`` schedule.
"""
