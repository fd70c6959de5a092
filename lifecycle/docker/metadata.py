"""Execution metadata of an image: the content of the docker builder's result file."""

from __future__ import annotations

from typing import Any

from common.gojson import encode
from common.gotext import quote

MAX_PORT = 65535


class PortError(Exception):
    """An invalid exposed port; ``str()`` is the reason, ``ports`` all ports as shown."""

    def __init__(self, reason: str, ports: str) -> None:
        super().__init__(reason)
        self.ports = ports


def wrong_member(config: dict[str, Any]) -> str:
    """The error text for an image configuration with a member of a wrong type; empty if all are valid."""
    for name in ("Cmd", "Entrypoint"):
        value = config.get(name) or []
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            return f"{name} is not a list of texts"
    for name in ("WorkingDir", "User"):
        if not isinstance(config.get(name) or "", str):
            return f"{name} is not a text"
    if not isinstance(config.get("ExposedPorts") or {}, dict):
        return "ExposedPorts is not a JSON object"
    return ""


def execution_metadata(config: dict[str, Any]) -> dict[str, Any]:
    """The execution metadata from an image's configuration, without empty members. Raises PortError."""
    command, entrypoint = _command(config)
    members: dict[str, Any] = {
        "cmd": command,
        "entrypoint": entrypoint,
        "workdir": config.get("WorkingDir"),
        "ports": ports(config.get("ExposedPorts") or {}),
        "user": config.get("User"),
    }
    return {name: value for name, value in members.items() if value}


def _command(config: dict[str, Any]) -> tuple[list[str], list[str]]:
    return config.get("Cmd") or [], config.get("Entrypoint") or []


def ports(exposed: dict[str, Any]) -> list[dict[str, Any]]:
    """``port[/protocol]`` keys as numbers, sorted by number and protocol. Raises PortError."""
    found = []
    for key in sorted(exposed):
        digits, _, protocol = key.partition("/")
        shown = "map[" + " ".join(f"{name}:{{}}" for name in sorted(exposed)) + "]"
        if not digits.isascii() or not digits.isdigit():
            raise PortError(f"strconv.ParseUint: parsing {quote(digits)}: invalid syntax", shown)
        if int(digits) > MAX_PORT:
            raise PortError(f"strconv.ParseUint: parsing {quote(digits)}: value out of range", shown)
        found.append((int(digits), protocol or "tcp"))
    return [{"Port": number, "Protocol": protocol} for number, protocol in sorted(found)]


def result_json(image: str, config: dict[str, Any]) -> str:
    """The content of the result file. Raises PortError."""
    command, entrypoint = _command(config)
    # An entrypoint without a command keeps a trailing blank. The platform has always stored it this way.
    web = " ".join([*entrypoint, " ".join(command)]) if entrypoint else " ".join(command)
    result = {
        "lifecycle_type": "docker",
        "lifecycle_metadata": {"docker_image": image},
        "process_types": {"web": web},
        "execution_metadata": encode(execution_metadata(config)),
    }
    return encode(result) + "\n"
