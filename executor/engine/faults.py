"""What the docker SDK raises, as the executor's errors.

One place decides which failure means what; the text always says what was asked of the engine.
"""

from __future__ import annotations

import json
import logging
import re

from docker.errors import APIError, DockerException
from requests.exceptions import RequestException

from executor.errors import EngineError, EngineUnavailable
from executor.reasons import reason_of

log = logging.getLogger(__name__)


class ContainerGone(EngineError):
    """The engine's container is not there any more, or not running: somebody else ended it."""

    text = "container is gone"


class ImageMissing(EngineError):
    """The engine has no such image, or not any more."""

    text = "image is missing"


SAID_MOST = 4096
"""Characters of the engine's words that are passed on."""

_IN_LAYER = re.compile(
    r"/[^\s\"':]*/(?:overlay2|overlayfs|vfs|btrfs|snapshots)/[^\s\"':/]+/(?:merged|diff|fs)(?=/)"
)
_INTERNAL = re.compile(
    r"(?:/var/lib/(?:docker|containerd)|(?:/var)?/run/(?:docker|containerd)|/proc/(?:self|\d+)/fd)"
    r"[^\s\"':,;()]*"
)


def engine_text(error: Exception) -> str:
    """The engine's own words, without the SDK's decoration."""
    if isinstance(error, APIError) and error.explanation:
        return _message(str(error.explanation))
    return str(error)


def refused(status: int, body: bytes, asked: str) -> EngineError:
    """The executor's error for an answer of the engine with an error's status."""
    said = _message(body.decode("utf-8", "replace").strip()) or f"status {status}"
    return _classified(status, said, asked)


def for_owners(said: str) -> str:
    """The engine's words as an app's owner may see them: paths in a container's root begin there, and the
    engine's own places have no path."""
    said = _IN_LAYER.sub("", said[:SAID_MOST])
    return _INTERNAL.sub("the engine's storage", said)


def _message(text: str) -> str:
    """What the engine says in an answer, which is JSON or words."""
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return str(answer["message"]) if isinstance(answer, dict) and "message" in answer else text


def _classified(status: int | None, said: str, asked: str) -> EngineError:
    lower = said.lower()
    shown = for_owners(said)
    if shown != said:
        log.info("engine-refused", extra={"data": {"asked": asked, "said": said}})
    text = f"{asked}: {shown}"
    if (status == 404 and "no such container" in lower) or (status == 409 and "is not running" in lower):
        return ContainerGone(text)
    return EngineError(text)


def translate(error: DockerException | RequestException, asked: str) -> EngineError:
    """The executor's error for ``error``; ``asked`` names the call, like ``create container g1``."""
    if isinstance(error, APIError):
        return _classified(error.status_code, engine_text(error), asked)
    return unavailable(error, asked)


def unavailable(error: Exception, asked: str) -> EngineUnavailable:
    """The executor's error for an engine that did not answer."""
    log.info("engine-unavailable", extra={"data": {"asked": asked, "error": str(error)}})
    return EngineUnavailable(f"{asked}: the container engine does not answer: {reason_of(error)}")
