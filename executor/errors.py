"""Errors of the executor, each with the text peers and users see."""

from __future__ import annotations


class ExecutorError(Exception):
    """Root of what the executor raises."""

    text = "executor error"

    def __init__(self, text: str | None = None) -> None:
        super().__init__(self.text if text is None else text)


class ContainerGuidNotAvailable(ExecutorError):
    """A container with this guid exists already."""

    text = "container guid not available"


class InsufficientResourcesAvailable(ExecutorError):
    """Memory, disk or container slots are short."""

    text = "insufficient resources available"


class ContainerNotFound(ExecutorError):
    """No such container."""

    text = "container not found"


class GuidNotSpecified(ExecutorError):
    """An empty guid."""

    text = "container guid not specified"


class ContainerGuidInvalid(ExecutorError):
    """A text that cannot be a guid (``bbs.models.guid``)."""

    text = "container guid is not valid"


class InvalidStateTransition(ExecutorError):
    """The container's state does not allow this."""

    text = "container cannot transition to given state"


class LimitsInvalid(ExecutorError):
    """A negative amount of memory, disk or processes."""

    text = "container limits invalid"


class EmptyAction(ExecutorError):
    """A run request without an action."""

    text = "container cannot have empty action"


class EngineError(ExecutorError):
    """The container engine refused or failed; the text is the engine's own, with what was asked of it."""

    text = "container engine error"


class EngineUnavailable(EngineError):
    """No engine answers at its address."""

    text = "container engine unavailable"


class ImageError(EngineError):
    """An image cannot be had; the text says registry, image and reason."""

    text = "image error"


class ProcessStartError(EngineError):
    """A process could not be started (unknown user, missing program, bad directory): not an exit status."""

    text = "process could not be started"


class NoSuchFile(EngineError):
    """A path of a container leads to nothing that can be copied: neither a file nor a directory."""

    text = "no such file"


class FileTooLarge(EngineError):
    """A file has more bytes than are wanted."""

    text = "file is too large"


class NetworkError(ExecutorError):
    """Ports or packet rules could not be set up."""

    text = "network error"


class NoFreePorts(NetworkError):
    """Every host port of the pool is taken."""

    text = "no free host ports"
