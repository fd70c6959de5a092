"""``staging_info.yml``: the file in the droplet that passes information from the builder to the launcher."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from common.goerrors import reason
from common.gojson import JSONError, decode, encode

FILE = "staging_info.yml"


class StagingInfoError(Exception):
    """The file exists but cannot be used; ``str()`` is the reason."""


@dataclass(frozen=True, slots=True)
class StagingInfo:
    detected_buildpack: str = ""
    start_command: str = ""
    entrypoint_prefix: str | None = None
    """None without a ``config``."""

    def dump(self) -> str:
        """The content of the file: one line of JSON, which is valid YAML."""
        members: dict[str, object] = {
            "detected_buildpack": self.detected_buildpack,
            "start_command": self.start_command,
        }
        if self.entrypoint_prefix is not None:
            prefix = self.entrypoint_prefix
            members["config"] = {"entrypoint_prefix": prefix} if prefix else {}
        return encode(members) + "\n"


def read(path: Path) -> StagingInfo:
    """The content of the file; empty if it does not exist. Raises StagingInfoError."""
    try:
        content = path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return StagingInfo()
    except OSError as error:
        raise StagingInfoError(f"read {path}: {reason(error)}") from error
    return _from_json(content) or _from_yaml(content)


def _from_json(content: str) -> StagingInfo | None:
    """Read the builder's JSON without the YAML reader, which would double the launcher's run time."""
    try:
        info = decode(content)
    except JSONError:
        return None
    config = info.get("config", {}) if isinstance(info, dict) else None
    if not isinstance(config, dict):
        return None
    values = [info.get("detected_buildpack", ""), info.get("start_command", "")]
    values.append(config.get("entrypoint_prefix", ""))
    return StagingInfo(*values) if all(isinstance(value, str) for value in values) else None


def _from_yaml(content: str) -> StagingInfo:
    from common import goyaml

    try:
        info = goyaml.mapping(goyaml.load(content), "staging info")
        config = goyaml.mapping(info.get("config"), "config")
        return StagingInfo(
            goyaml.text(info.get("detected_buildpack"), "detected_buildpack"),
            goyaml.text(info.get("start_command"), "start_command"),
            goyaml.text(config.get("entrypoint_prefix"), "entrypoint_prefix"),
        )
    except goyaml.YAMLError as error:
        raise StagingInfoError(f"failed to unmarshal {FILE}: {error}") from error
