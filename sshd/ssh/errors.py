"""What can go wrong between two SSH peers, as both programs tell it apart."""

from __future__ import annotations


class ProtocolViolation(Exception):
    """The peer broke the connection protocol; the connection has to end."""


class OpenRefused(Exception):
    """A channel was not opened: the reason code and the text of the refusal."""

    def __init__(self, reason: int, text: str, language: str = "") -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text
        self.language = language
