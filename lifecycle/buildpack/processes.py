"""Processes and sidecars of an app, collected from the buildpacks and the app's Procfile."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import goyaml
from common.goerrors import reason
from lifecycle.buildpack.buildpacks import BuildError

WEB = "web"
PROCFILE = "Procfile"
LAUNCH_FILE = "launch.yml"


@dataclass(frozen=True, slots=True)
class Process:
    """A command with its process type. With ``sidecar_for``, a sidecar that runs beside those types."""

    type: str
    command: str
    sidecar_for: tuple[str, ...] = ()
    memory: int = 0
    """Memory limit of a sidecar in MB; 0 means no limit of its own."""


def merge(*sources: list[Process]) -> list[Process]:
    """All processes by type. A later source replaces an earlier one in place; new types are appended."""
    merged: dict[str, list[Process]] = {}
    for source in sources:
        by_type: dict[str, list[Process]] = {}
        for process in source:
            by_type.setdefault(process.type, []).append(process)
        merged.update(by_type)
    return [process for same in merged.values() for process in same]


def processes_json(processes: list[Process]) -> list[dict[str, Any]]:
    return [{"type": one.type, "command": one.command} for one in processes if not one.sidecar_for]


def sidecars_json(processes: list[Process]) -> list[dict[str, Any]]:
    sidecars = []
    for one in processes:
        if one.sidecar_for:
            members: dict[str, Any] = {"name": one.type, "process_types": list(one.sidecar_for)}
            members["command"] = one.command
            sidecars.append({**members, "memory": one.memory} if one.memory else members)
    return sidecars


def process_types(processes: list[Process]) -> dict[str, str]:
    """Type -> command in byte order; of a repeated type the last counts."""
    return dict(sorted({one.type: one.command for one in processes if not one.sidecar_for}.items()))


def launch_file(path: Path) -> list[Process] | None:
    """The processes of a buildpack's ``launch.yml``; None if the file does not exist. Raises BuildError."""
    try:
        content = path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BuildError(f"read {path}: {reason(error)}") from error
    try:
        top = goyaml.mapping(goyaml.load(content), LAUNCH_FILE)
        return [_process(entry) for entry in goyaml.sequence(top.get("processes"), "processes")]
    except goyaml.YAMLError as error:
        raise BuildError(str(error)) from error


def _process(entry: Any) -> Process:
    """Raises YAMLError."""
    members = goyaml.mapping(entry, "process")
    limits = goyaml.mapping(members.get("limits"), "limits")
    platforms = goyaml.mapping(members.get("platforms"), "platforms")
    platform = goyaml.mapping(platforms.get("cloudfoundry"), "cloudfoundry")
    sidecar_for = goyaml.sequence(platform.get("sidecar_for"), "sidecar_for")
    return Process(
        goyaml.text(members.get("type"), "type"),
        goyaml.text(members.get("command"), "command"),
        tuple(goyaml.text(name, "sidecar_for") for name in sidecar_for),
        goyaml.integer(limits.get("memory"), "memory"),
    )


def released(output: str) -> list[Process]:
    """The processes that ``bin/release`` prints. Raises BuildError."""
    try:
        top = goyaml.mapping(goyaml.load(output), "release output")
        types = goyaml.mapping(top.get("default_process_types"), "default_process_types")
        return [Process(name, goyaml.text(command, name)) for name, command in types.items()]
    except goyaml.YAMLError as error:
        raise BuildError(f"buildpack's release output invalid: {error}") from error


def procfile(build_dir: Path) -> list[Process]:
    """The processes of the app's Procfile; empty without a Procfile. Raises BuildError."""
    failed = "Failed to read command from Procfile"
    path = build_dir / PROCFILE
    try:
        content = path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise BuildError(f"{failed}: read {path}: {reason(error)}") from error
    try:
        types = goyaml.mapping(goyaml.load(content), PROCFILE)
        return [Process(name, goyaml.text(command, name)) for name, command in types.items()]
    except goyaml.YAMLError as error:
        raise BuildError(f"{failed}: invalid YAML") from error
