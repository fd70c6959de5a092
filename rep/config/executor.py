"""Translation of ``rep.json`` into the executor's configuration."""

from __future__ import annotations

import os
import shlex
from dataclasses import fields
from typing import Any

from executor.config import ExecutorConfig, OnStop
from rep.config.keys import RepConfig
from rep.config.values import seconds
from rep.ending import Ending, of_failure
from rep.rootfs import StackMap, UnknownStack


def executor_config(config: RepConfig) -> ExecutorConfig:
    """Settings of the cell's executor. Raises UnknownStack, InvalidPreloadedRootFS, ValueError."""
    others: dict[str, Any] = {
        "memory_mb": _amount(config.memory_mb),
        "disk_mb": _amount(config.disk_mb),
        "max_containers": config.container_max_count,
        "max_cache_size_bytes": config.max_cache_size_in_bytes,
        "post_setup_hook": tuple(shlex.split(config.post_setup_hook)),
        "volman_driver_paths": tuple(filter(None, config.volman_driver_paths.split(os.pathsep))),
        "log_origin": config.loggregator.loggregator_job_origin,
        "app_metric_exclusion_filter": config.loggregator.loggregator_app_metric_exclusion_filter,
        "sidecar_root_fs": sidecar_root_fs(config),
        "garden_healthcheck_process_env": tuple(map(_pair, config.garden_healthcheck_process_env)),
        "on_stop": _on_stop(config),
        "orphan_grace_s": seconds(config.orphan_grace_period),
    }
    same = {each.name: _same(config, each.name) for each in fields(ExecutorConfig) if each.name not in others}
    return ExecutorConfig(**same, **others)


def _same(config: RepConfig, name: str) -> Any:
    """The value of a setting that has one name in both, or the one in seconds of a duration."""
    if (key := name.removesuffix("_s")) != name:
        return seconds(getattr(config, key))
    return getattr(config, name)


def stack_map(config: RepConfig) -> StackMap:
    """Preloaded and extra stacks of the cell; reads the disk. Raises InvalidPreloadedRootFS."""
    return StackMap.parse(config.preloaded_root_fs).with_extra(config.extra_root_fs_dir)


def sidecar_root_fs(config: RepConfig) -> str:
    """Root filesystem of probe containers: the path, else the named stack's, else any preloaded stack's.

    Raises UnknownStack if the cell does not have the named stack.
    """
    if config.sidecar_root_fs_path:
        return config.sidecar_root_fs_path
    if config.sidecar_root_fs:
        path = stack_map(config).paths.get(config.sidecar_root_fs)
        if path is None:
            raise UnknownStack(config.sidecar_root_fs)
        return path
    return next(iter(StackMap.parse(config.preloaded_root_fs).paths.values()), "")


def _on_stop(config: RepConfig) -> OnStop:
    """What an end means that the rep does not choose, such as a failed start."""
    end = of_failure(Ending(config.on_stop))
    return OnStop.HAND_OVER if end is Ending.HAND_OVER else OnStop.DESTROY


def _amount(text: str) -> int | None:
    return None if text == "auto" else int(text)


def _pair(variable: str) -> tuple[str, str]:
    name, _, value = variable.partition("=")
    return name, value
