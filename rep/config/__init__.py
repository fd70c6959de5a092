"""``rep.json``: the configuration of a cell."""

from rep.config.executor import executor_config, sidecar_root_fs, stack_map
from rep.config.keys import Loggregator, RepConfig
from rep.config.parse import ConfigError, load, parse
from rep.config.validate import InvalidConfig, Problem, findings, validate
from rep.config.values import Duration, Source, seconds

__all__ = [
    "ConfigError",
    "Duration",
    "InvalidConfig",
    "Loggregator",
    "Problem",
    "RepConfig",
    "Source",
    "executor_config",
    "findings",
    "load",
    "parse",
    "seconds",
    "sidecar_root_fs",
    "stack_map",
    "validate",
]
