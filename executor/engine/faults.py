"""What the docker SDK raises, as the executor's errors.

One place decides which failure means what; the text always says what was asked of the engine.
"""

from __future__ import annotations

import json

from docker.errors import APIError, DockerException
from requests.exceptions import ConnectionError as RequestsConnectionError
from requests.exceptions import RequestException
from requests.exceptions import Timeout as RequestsTimeout

from executor.errors import EngineError, EngineUnavailable


class ContainerGone(EngineError):
    """The engine's container is not there any more, or not running: somebody else ended it."""

    text = "container is gone"


class ImageMissing(EngineError):
    """The engine has no such image, or not any more."""

    text = "image is missing"


def engine_text(error: Exception) -> str:
    """The engine's own words, without the SDK's decoration."""
    if isinstance(error, APIError) and error.explanation:
        return str(error.explanation)
    return str(error)


def refused(status: int, body: bytes, asked: str) -> EngineError:
    """The executor's error for an answer of the engine with an error's status."""
    try:
        said = str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        said = body.decode("utf-8", "replace").strip() or f"status {status}"
    return _classified(status, said, asked)


def _classified(status: int | None, said: str, asked: str) -> EngineError:
    text, lower = f"{asked}: {said}", said.lower()
    if (status == 404 and "no such container" in lower) or (status == 409 and "is not running" in lower):
        return ContainerGone(text)
    return EngineError(text)


def translate(error: DockerException | RequestException, asked: str) -> EngineError:
    """The executor's error for ``error``; ``asked`` names the call, like ``create container g1``."""
    text = f"{asked}: {engine_text(error)}"
    if isinstance(error, APIError):
        return _classified(error.status_code, engine_text(error), asked)
    if isinstance(error, RequestsConnectionError | RequestsTimeout | DockerException):
        return EngineUnavailable(text)
    return EngineError(text)
