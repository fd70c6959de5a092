"""Errors of the executor, with their texts for peers and users."""

from __future__ import annotations


class ExecutorError(Exception):
    """Base class of the executor's errors."""

    text = "executor error"

    def __init__(self, text: str | None = None) -> None:
        super().__init__(self.text if text is None else text)


class ContainerGuidNotAvailable(ExecutorError):
    """A container with this guid already exists."""

    text = "container guid not available"


class InsufficientResourcesAvailable(ExecutorError):
    """Not enough memory, disk or container slots."""

    text = "insufficient resources available"


class ContainerNotFound(ExecutorError):
    """No container has this guid."""

    text = "container not found"


class GuidNotSpecified(ExecutorError):
    """The guid is empty."""

    text = "container guid not specified"


class ContainerGuidInvalid(ExecutorError):
    """The text is not a valid guid (``bbs.models.guid``)."""

    text = "container guid is not valid"


class InvalidStateTransition(ExecutorError):
    """The container's state does not allow the move."""

    text = "container cannot transition to given state"


class LimitsInvalid(ExecutorError):
    """An amount of memory, disk or processes is negative."""

    text = "container limits invalid"


class HandedOver(ExecutorError):
    """The executor has left its containers to the next one."""

    text = "the cell is restarting"


class EmptyAction(ExecutorError):
    """The run request has no action."""

    text = "container cannot have empty action"


class EngineError(ExecutorError):
    """The container engine refused or failed; the text has the engine's message and the request."""

    text = "container engine error"


class ContainerGone(EngineError):
    """The engine's container is missing or not running: it was ended from outside."""

    text = "container is gone"


class EngineUnavailable(EngineError):
    """No engine answers at the configured address."""

    text = "container engine unavailable"


class ImageError(EngineError):
    """An image is unavailable; the text names registry, image and reason."""

    text = "image error"


class ProcessStartError(EngineError):
    """A process could not be started (unknown user, missing program, bad directory).

    This is not an exit status.
    """

    text = "process could not be started"


class NoSuchFile(EngineError):
    """A path in a container is neither a regular file nor a directory."""

    text = "no such file"


class FileTooLarge(EngineError):
    """A file exceeds the requested limit."""

    text = "file is too large"


class NetworkError(ExecutorError):
    """Ports or packet rules could not be set up."""

    text = "network error"


class NoFreePorts(NetworkError):
    """All host ports of the pool are in use."""

    text = "no free host ports"
