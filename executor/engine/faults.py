"""What the docker SDK raises, as the executor's errors.

One place decides which failure means what; the text always says what was asked of the engine.
"""

from __future__ import annotations

from docker.errors import APIError, DockerException, NotFound
from requests.exceptions import ConnectionError as RequestsConnectionError
from requests.exceptions import RequestException
from requests.exceptions import Timeout as RequestsTimeout

from executor.errors import EngineError, EngineUnavailable


class ContainerGone(EngineError):
    """The engine's container is not there any more, or not running: somebody else ended it."""

    text = "container is gone"


def engine_text(error: Exception) -> str:
    """The engine's own words, without the SDK's decoration."""
    if isinstance(error, APIError) and error.explanation:
        return str(error.explanation)
    return str(error)


def no_such_container(error: Exception) -> bool:
    """Whether the engine said that it has no such container, or that it does not run."""
    if not isinstance(error, APIError):
        return False
    text = engine_text(error).lower()
    if isinstance(error, NotFound):
        return "no such container" in text
    return error.status_code == 409 and "is not running" in text


def translate(error: DockerException | RequestException, asked: str) -> EngineError:
    """The executor's error for ``error``; ``asked`` names the call, like ``create container g1``."""
    text = f"{asked}: {engine_text(error)}"
    if no_such_container(error):
        return ContainerGone(text)
    if isinstance(error, RequestsConnectionError | RequestsTimeout):
        return EngineUnavailable(text)
    if isinstance(error, DockerException) and not isinstance(error, APIError):
        return EngineUnavailable(text)
    return EngineError(text)
