"""The error of a BBS, as an exception.

Names, numbers and texts are those of the BBS wire protocol. Peers compare the type, not
the text, with two exceptions; the code that raises those two errors keeps their texts.
"""

from __future__ import annotations

from enum import IntEnum


class ErrorType(IntEnum):
    """Kind of a BBS error; the JSON form is the name."""

    UnknownError = 0
    InvalidRecord = 3
    InvalidRequest = 4
    InvalidResponse = 5
    InvalidProtobufMessage = 6
    InvalidJSON = 7
    FailedToOpenEnvelope = 8
    InvalidStateTransition = 9
    ResourceConflict = 11
    ResourceExists = 12
    ResourceNotFound = 13
    RouterError = 14
    ActualLRPCannotBeClaimed = 15
    ActualLRPCannotBeStarted = 16
    ActualLRPCannotBeCrashed = 17
    ActualLRPCannotBeFailed = 18
    ActualLRPCannotBeRemoved = 19
    ActualLRPCannotBeUnclaimed = 21
    RunningOnDifferentCell = 24
    GUIDGeneration = 26
    Deserialize = 27
    Deadlock = 28
    Unrecoverable = 29
    LockCollision = 30
    Timeout = 31


DEFAULT_MESSAGES: dict[ErrorType, str] = {
    ErrorType.UnknownError: "the request failed for an unknown reason",
    ErrorType.InvalidRequest: "the request received is invalid",
    ErrorType.ResourceConflict: "the requested resource is in a conflicting state",
    ErrorType.ResourceExists: "the requested resource already exists",
    ErrorType.ResourceNotFound: "the requested resource could not be found",
    ErrorType.ActualLRPCannotBeClaimed: "cannot claim actual LRP",
    ErrorType.ActualLRPCannotBeStarted: "cannot start actual LRP",
    ErrorType.ActualLRPCannotBeCrashed: "cannot crash actual LRP",
    ErrorType.ActualLRPCannotBeFailed: "cannot fail actual LRP",
    ErrorType.ActualLRPCannotBeRemoved: "cannot remove actual LRP",
    ErrorType.ActualLRPCannotBeUnclaimed: "cannot unclaim actual LRP",
    ErrorType.GUIDGeneration: "cannot generate random guid",
    ErrorType.Deserialize: "could not deserialize record",
    ErrorType.Deadlock: "the request failed due to deadlock",
    ErrorType.LockCollision: "lock already exists",
}


class BBSError(Exception):
    """An error of the BBS, or of the transport to it.

    type: compared by peers.
    message: text for people; default is the standard text of the type.
    """

    def __init__(self, type: ErrorType, message: str | None = None) -> None:
        self.type = type
        self.message = DEFAULT_MESSAGES.get(type, type.name) if message is None else message
        super().__init__(self.message)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BBSError) and (self.type, self.message) == (other.type, other.message)

    def __hash__(self) -> int:
        return hash((self.type, self.message))

    def __repr__(self) -> str:
        return f"BBSError({self.type.name}, {self.message!r})"
