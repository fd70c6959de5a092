"""The builder's result file ``result.json``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common import goyaml
from common.gojson import encode
from lifecycle.buildpack.processes import Process, process_types, processes_json, sidecars_json

CONFIG_FILE = "config.yml"


@dataclass(frozen=True, slots=True)
class Used:
    """A buildpack used in the build, with its own description of itself."""

    key: str
    name: str = ""
    version: str = ""
    entrypoint_prefix: str | None = None
    """None without a ``config``; empty if ``config`` is empty."""
    output_metadata: Any = None

    def members(self) -> dict[str, Any]:
        found: dict[str, Any] = {"key": self.key, "name": self.name}
        if self.version:
            found["version"] = self.version
        if self.entrypoint_prefix is not None:
            found["config"] = config_members(self.entrypoint_prefix)
        if self.output_metadata:
            found["output_metadata"] = _sorted(self.output_metadata)
        return found

    def or_named(self, name: str) -> Used:
        """A copy with ``name``, unless the buildpack named itself."""
        return self if self.name else replace(self, name=name)


def config_members(entrypoint_prefix: str) -> dict[str, str]:
    return {"entrypoint_prefix": entrypoint_prefix} if entrypoint_prefix else {}


def read_config(key: str, folder: Path) -> Used:
    """The description that a buildpack wrote into its slot. Unreadable files and members are ignored."""
    try:
        content = (folder / CONFIG_FILE).read_text(encoding="utf-8", errors="surrogateescape")
        top = goyaml.mapping(goyaml.load(content), CONFIG_FILE)
    except (OSError, goyaml.YAMLError):
        return Used(key)
    config = top.get("config")
    prefix = _text(config.get("entrypoint_prefix")) if isinstance(config, dict) else ""
    metadata = top.get("output_metadata")
    return Used(
        key,
        _text(top.get("name")),
        _text(top.get("version")),
        None if config is None else prefix,
        goyaml.plain_value(metadata) if isinstance(metadata, dict) else None,
    )


def _text(value: Any) -> str:
    return str(value) if isinstance(value, goyaml.Scalar) else ""


def _sorted(value: Any) -> Any:
    """The value with the keys of all mappings in byte order."""
    if isinstance(value, dict):
        return {name: _sorted(item) for name, item in sorted(value.items())}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def result_json(used: list[Used], processes: list[Process] | None) -> str:
    """The content of the file; ``processes`` is None for a failed build."""
    metadata: dict[str, Any] = {}
    if used[-1].key:
        metadata["buildpack_key"] = used[-1].key
    metadata["detected_buildpack"] = used[-1].name
    metadata["buildpacks"] = [one.members() for one in used]
    result: dict[str, Any] = {"lifecycle_metadata": metadata, "process_types": None}
    if processes is not None:
        result["process_types"] = process_types(processes)
        for name, listed in (
            ("processes", processes_json(processes)),
            ("sidecars", sidecars_json(processes)),
        ):
            if listed:
                result[name] = listed
    return encode({**result, "execution_metadata": "", "lifecycle_type": "buildpack"}) + "\n"
