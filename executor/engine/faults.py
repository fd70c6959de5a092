"""Conversion of Docker SDK errors to the executor's errors.

All failures are classified here; the text always names the engine call.
"""

from __future__ import annotations

import json
import logging
import re

from docker.errors import APIError, DockerException
from requests.exceptions import RequestException

from executor.errors import ContainerGone, EngineError, EngineUnavailable
from executor.reasons import reason_of

log = logging.getLogger(__name__)


class ImageMissing(EngineError):
    """The engine does not have the image."""

    text = "image is missing"


MESSAGE_MOST = 4096
"""Maximum characters of the engine's message that are passed on."""

_IN_LAYER = re.compile(
    r"/[^\s\"':]*/(?:overlay2|overlayfs|vfs|btrfs|snapshots)/[^\s\"':/]+/(?:merged|diff|fs)(?=/)"
)
_INTERNAL = re.compile(
    r"(?:/var/lib/(?:docker|containerd)|(?:/var)?/run/(?:docker|containerd)|/proc/(?:self|\d+)/fd)"
    r"[^\s\"':,;()]*"
)
_RUNTIME = re.compile(
    r"(?:failed to create (?:shim )?task: )?OCI runtime \w+ failed: (?:\w+ (?:create|start) failed: )?"
    r"(?:unable to start container process: )?(?:error during container init: )?"
)
_END_OF_RUNTIME = re.compile(r": unknown(?:: Are you trying to mount .*)?$", re.DOTALL)
_MOUNT = re.compile(r'error mounting "[^"]*" to rootfs at "([^"]*)": (?:(?:open|mount|mkdir) .*: )?([^:]+)$')


def engine_text(error: Exception) -> str:
    """The engine's message without the SDK's prefix."""
    if isinstance(error, APIError) and error.explanation:
        return _message(str(error.explanation))
    return str(error)


def refused(status: int, body: bytes, asked: str) -> EngineError:
    """The executor's error for an error answer of the engine."""
    message = _message(body.decode("utf-8", "replace").strip()) or f"status {status}"
    return _classified(status, message, asked)


def for_owners(message: str) -> str:
    """The engine's message for an app's owner: paths in a container's root start there, and the engine's own
    paths are removed, as are the parts of the engine through which the message came.
    """
    message = _IN_LAYER.sub("", message[:MESSAGE_MOST])
    if runtime := _RUNTIME.match(message):
        message = _END_OF_RUNTIME.sub("", message[runtime.end() :])
        message = _MOUNT.sub(r"cannot mount \1: \2", message)
    return _INTERNAL.sub("the engine's storage", message)


def _message(text: str) -> str:
    """The message in an engine answer, which is JSON or plain text."""
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return str(answer["message"]) if isinstance(answer, dict) and "message" in answer else text


def _classified(status: int | None, message: str, asked: str) -> EngineError:
    lower = message.lower()
    shown = for_owners(message)
    if shown != message:
        log.info("engine-refused", extra={"data": {"asked": asked, "said": message}})
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
