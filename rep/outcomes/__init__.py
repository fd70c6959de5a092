"""Outcomes: how containers ended, kept on disk until the BBS has answered the report.

``reports`` are the calls, ``answers`` decides which answers end a report, ``schedule`` when one is sent,
``ledger`` keeps them, ``courier`` sends them.
"""
