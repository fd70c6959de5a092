"""Errors between two SSH peers."""

from __future__ import annotations


class ProtocolViolation(Exception):
    """The peer violated the connection protocol; the connection must end."""


class OpenRefused(Exception):
    """The peer refused to open a channel: reason code and text."""

    def __init__(self, reason: int, text: str, language: str = "") -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text
        self.language = language
