"""Keeping BBS and executor in step: what an event or a bulk pass leads to.

``batch``, ``lrp``, ``tasks`` and ``residual`` decide, in terms of ``commands``; ``processor`` executes;
``queue``, ``consumer`` and ``bulk`` say when.
"""
