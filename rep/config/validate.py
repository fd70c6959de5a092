"""Validation of the configuration, with the names of problems from the original component's log."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from bbs.serving.address import Address
from executor.logs.targets import InvalidTarget, parse_target
from rep.config.keys import RepConfig
from rep.redaction import Redaction

CONFIGURE_FAILED = "failed-to-configure-executor"
INITIALIZE_FAILED = "failed-to-initialize-executor"

_POOLS = (
    "create_work_pool_size",
    "delete_work_pool_size",
    "read_work_pool_size",
    "metrics_work_pool_size",
    "healthcheck_work_pool_size",
)
_ARCHIVE_LIMITS = ("archive_free_bytes", "archive_ratio", "archive_members", "archive_depth")


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason not to start. message: the name in the log. detail: for the operator."""

    message: str
    detail: str


class InvalidConfig(Exception):
    """A configuration with which a cell cannot start.

    problems: all problems of one kind. message: the last log entry. exit_status: of the process.
    """

    def __init__(self, message: str, exit_status: int, problems: list[Problem]) -> None:
        listed = "; ".join(f"{problem.message} ({problem.detail})" for problem in problems)
        super().__init__(f"{message}: {listed}")
        self.message = message
        self.exit_status = exit_status
        self.problems = problems


def validate(config: RepConfig) -> None:
    """Raises InvalidConfig for the first kind of problem, in the order of the checks at a cell's start."""
    for finding in findings(config):
        raise finding


def findings(config: RepConfig) -> Iterator[InvalidConfig]:
    """All problems by kind; a cell's start stops at the first kind."""
    checks = (
        (CONFIGURE_FAILED, 2, _executor_problems),
        ("invalid-cell-id", 1, _cell_id_problems),
        (INITIALIZE_FAILED, 1, _start_problems),
        ("invalid-log-sinks", 2, _log_sink_problems),
        ("invalid-redact-patterns", 2, _redaction_problems),
        ("invalid-bbs-config", 1, _bbs_problems),
        ("invalid-locket-config", 2, _locket_problems),
        ("tls-configuration-failed", 2, _tls_problems),
        ("invalid-listen-address", 2, _listener_problems),
    )
    for message, exit_status, problems_of in checks:
        problems = problems_of(config)
        if problems:
            yield InvalidConfig(message, exit_status, problems)


def _executor_problems(config: RepConfig) -> list[Problem]:
    table = (
        (config.container_max_cpu_shares == 0, "max-cpu-shares-invalid", "container_max_cpu_shares is 0"),
        (
            config.healthy_monitoring_interval <= 0,
            "healthy-monitoring-interval-invalid",
            "healthy_monitoring_interval must be longer than 0s",
        ),
        (
            config.unhealthy_monitoring_interval <= 0,
            "unhealthy-monitoring-interval-invalid",
            "unhealthy_monitoring_interval must be longer than 0s",
        ),
        (
            config.garden_healthcheck_interval <= 0,
            "garden-healthcheck-interval-invalid",
            "garden_healthcheck_interval must be longer than 0s",
        ),
        (
            not config.garden_healthcheck_process_user,
            "garden-healthcheck-process-user-invalid",
            "garden_healthcheck_process_user is empty",
        ),
        (
            not config.garden_healthcheck_process_path,
            "garden-healthcheck-process-path-invalid",
            "garden_healthcheck_process_path is empty",
        ),
        (
            bool(config.post_setup_hook) and not config.post_setup_user,
            "post-setup-hook-requires-a-user",
            "post_setup_hook is set, post_setup_user is not",
        ),
        (
            config.declarative_healthcheck_default_timeout <= 0,
            "declarative_healthcheck_default_timeout",
            "declarative_healthcheck_default_timeout must be longer than 0s",
        ),
    )
    problems = [Problem(message, detail) for wrong, message, detail in table if wrong]
    return problems + [
        Problem("archive-limits-invalid", f"{key} is 0: no download could be unpacked")
        for key in _ARCHIVE_LIMITS
        if not getattr(config, key)
    ]


def _cell_id_problems(config: RepConfig) -> list[Problem]:
    return [] if config.cell_id else [Problem("invalid-cell-id", "cell_id is missing or empty")]


def _start_problems(config: RepConfig) -> list[Problem]:
    problems = [
        Problem(f"must provide positive maxWorkers; provided {size}", name)
        for name in _POOLS
        if (size := getattr(config, name)) < 1
    ]
    for what, key, text in (("memory", "memory_mb", config.memory_mb), ("disk", "disk_mb", config.disk_mb)):
        if text != "auto" and not (text.isascii() and text.isdecimal() and int(text) > 0):
            problems.append(
                Problem(f"{what} limit must be a positive number or 'auto'", f"{key} is {text!r}")
            )
    if bool(config.path_to_tls_cert) != bool(config.path_to_tls_key):
        problems.append(
            Problem(
                "The TLS certificate or key is missing",
                "path_to_tls_cert and path_to_tls_key need each other",
            )
        )
    if config.instance_identity_cred_dir and config.instance_identity_validity_period <= 0:
        problems.append(
            Problem(
                "instance ID validity period needs to be set and positive",
                "instance_identity_validity_period must be longer than 0s",
            )
        )
    return problems


def _log_sink_problems(config: RepConfig) -> list[Problem]:
    problems = []
    for text in config.log_sinks:
        try:
            parse_target(text)
        except InvalidTarget as error:
            problems.append(Problem("invalid-log-sink", f"log_sinks: {error}"))
    return problems


def _redaction_problems(config: RepConfig) -> list[Problem]:
    problems = []
    for pattern in config.redact_patterns:
        try:
            Redaction([pattern])
        except re.error as error:
            problems.append(Problem("invalid-redact-pattern", f"redact_patterns: {pattern!r}: {error}"))
    return problems


def _bbs_problems(config: RepConfig) -> list[Problem]:
    if config.bbs_address.startswith(("https://", "http://")):
        return []
    return [Problem("invalid-bbs-address", f"bbs_address is {config.bbs_address!r}, expected an https URL")]


def _locket_problems(config: RepConfig) -> list[Problem]:
    return [] if config.locket_address else [Problem("invalid-locket-config", "locket_address is empty")]


def _tls_problems(config: RepConfig) -> list[Problem]:
    missing = [key for key in ("ca_cert_file", "cert_file", "key_file") if not getattr(config, key)]
    if not missing or config.plain:
        return []
    return [Problem("missing-tls-files", f"{', '.join(missing)} must be given")]


def _listener_problems(config: RepConfig) -> list[Problem]:
    """Addresses that cannot be bound, and plain ones beyond loopback, which let anyone run containers."""
    problems = []
    for key in ("listen_addr", "listen_addr_securable", "debug_address"):
        text: str = getattr(config, key)
        if key == "debug_address" and not text:
            continue
        try:
            address = Address.parse(text)
        except ValueError as error:
            problems.append(Problem("invalid-address", f"{key}: {error}"))
            continue
        if config.plain and key != "debug_address" and not address.is_loopback:
            detail = (
                f"{key} is {text!r}, but without certificates the rep serves on loopback only: "
                f"use 127.0.0.1:{address.port}, or give ca_cert_file, cert_file and key_file"
            )
            problems.append(Problem("plain-listener-beyond-loopback", detail))
    if config.plain and config.rep_url.startswith("https:"):
        detail = f"rep_url is {config.rep_url!r}, but without certificates the rep serves plain HTTP"
        problems.append(Problem("rep-url-without-certificates", detail))
    return problems
