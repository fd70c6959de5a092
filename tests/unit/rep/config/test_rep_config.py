"""rep.json: values, defaults, errors that name the key, and the executor's configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from executor.cache.limits import DEFAULT_LIMITS, ArchiveLimits
from rep import config
from rep.config import ConfigError, InvalidConfig, Source, executor_config, load, parse, validate
from rep.config.validate import Problem
from rep.rootfs import UnknownStack

pytestmark = pytest.mark.unit

SOUND: dict[str, Any] = {
    "cell_id": "cell-1",
    "bbs_address": "https://bbs.service.cf.internal:8889",
    "locket_address": "locket.service.cf.internal:8891",
    "ca_cert_file": "/certs/ca.crt",
    "cert_file": "/certs/cell.crt",
    "key_file": "/certs/cell.key",
}

BOUNDS = ("free_bytes", "ratio", "members", "depth")


def read(**values: Any) -> config.RepConfig:
    return parse(json.dumps({**SOUND, **values}))


def test_values_and_where_they_came_from() -> None:
    found = parse(json.dumps({**SOUND, "POLLING_interval": "1m30s", "zone": "z1"}), zone="z9")
    assert found.polling_interval == 90_000_000_000
    assert found.zone == "z9"
    effective = {key: (value, source) for key, value, source in found.effective()}
    assert effective["polling_interval"] == (90_000_000_000, Source.FILE)
    assert effective["zone"] == ("z9", Source.FLAG)
    assert effective["evacuation_timeout"] == (600_000_000_000, Source.DEFAULT)
    assert effective["loggregator.loggregator_api_port"] == (3458, Source.DEFAULT)
    assert found.warnings == ()


def test_null_is_absent() -> None:
    assert read(polling_interval=None, loggregator=None) == read()


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("polling_interval", 30, 'expected a duration such as "30s", "500ms" or "1m30s", got the number 30'),
        ("polling_interval", "30", "expected a duration such as .*, got the string"),
        ("cell_index", "0", "expected a whole number, got the string"),
        ("cell_index", True, "expected a whole number, got true"),
        ("cell_index", 1.5, "expected a whole number, got the number 1.5"),
        ("max_cache_size_in_bytes", -1, "expected a whole number of 0 or more, got the number -1"),
        ("memory_mb", 1024, "expected a string, got the number 1024"),
        ("set_cpu_weight", "true", "expected true or false, got the string"),
        ("placement_tags", "x", "expected a list of strings, got the string"),
        ("placement_tags", [1], "expected a list of strings, got a list"),
        ("log_level", "verbose", 'expected one of "debug", "info", "error", "fatal", got'),
        ("log_level", "", 'expected one of "debug", "info", "error", "fatal", got'),
        ("loggregator", [], "expected an object, got a list"),
    ],
)
def test_a_wrong_value_names_its_key(key: str, value: object, said: str) -> None:
    with pytest.raises(ConfigError, match=f'^rep.json: key "{key}": {said}'):
        read(**{key: value})


def test_a_wrong_value_inside_loggregator() -> None:
    with pytest.raises(ConfigError, match=r'key "loggregator.loggregator_api_port": expected a whole'):
        read(loggregator={"loggregator_api_port": "3458"})


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"', "[" * 100000])
def test_a_file_that_is_no_object(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^rep\.json: "):
        parse(text)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.json: cannot be read: "):
        load(tmp_path / "none.json")


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "rep.json"
    path.write_text(json.dumps(SOUND))
    assert load(path) == read()


@pytest.mark.parametrize(
    "key",
    [
        "cell_registrations_locket_enabled",
        "enable_declarative_healthcheck",
        "consul_cluster",
        "bbs_ca_cert_file",
        "server_key_file",
        "dropsonde_port",
        "require_tls",
        "export_network_env_vars",
    ],
)
def test_obsolete_keys_pass_silently(key: str) -> None:
    assert read(**{key: "anything"}).warnings == ()


def test_an_unknown_key_gives_a_warning_with_a_guess() -> None:
    assert read(polling_intervall="30s").warnings == (
        'unknown key "polling_intervall" is ignored; did you mean "polling_interval"?',
    )


def test_a_sound_configuration_is_valid() -> None:
    validate(read())


def test_a_development_cell_needs_no_certificates() -> None:
    plain = dict.fromkeys(("ca_cert_file", "cert_file", "key_file"), "")
    validate(read(bbs_address="http://127.0.0.1:8889", **plain))
    with pytest.raises(InvalidConfig, match="missing-tls-files"):
        validate(read(**plain))


@pytest.mark.parametrize(
    ("values", "message", "status"),
    [
        ({"container_max_cpu_shares": 0}, "max-cpu-shares-invalid", 2),
        ({"healthy_monitoring_interval": "0s"}, "healthy-monitoring-interval-invalid", 2),
        ({"unhealthy_monitoring_interval": "-1s"}, "unhealthy-monitoring-interval-invalid", 2),
        ({"garden_healthcheck_interval": "0"}, "garden-healthcheck-interval-invalid", 2),
        ({"garden_healthcheck_process_user": ""}, "garden-healthcheck-process-user-invalid", 2),
        ({"garden_healthcheck_process_path": ""}, "garden-healthcheck-process-path-invalid", 2),
        *(({f"archive_{bound}": 0}, "archive-limits-invalid", 2) for bound in BOUNDS),
        ({"post_setup_hook": "sh -c x"}, "post-setup-hook-requires-a-user", 2),
        (
            {"declarative_healthcheck_default_timeout": "0s"},
            "declarative_healthcheck_default_timeout",
            2,
        ),
        ({"cell_id": ""}, "invalid-cell-id", 1),
        ({"create_work_pool_size": 0}, "must provide positive maxWorkers; provided 0", 1),
        ({"memory_mb": "lots"}, "memory limit must be a positive number or 'auto'", 1),
        ({"memory_mb": "0"}, "memory limit must be a positive number or 'auto'", 1),
        ({"disk_mb": "-5"}, "disk limit must be a positive number or 'auto'", 1),
        ({"path_to_tls_cert": "/x"}, "The TLS certificate or key is missing", 1),
        (
            {"instance_identity_cred_dir": "/x", "instance_identity_validity_period": "0s"},
            "instance ID validity period needs to be set and positive",
            1,
        ),
        ({"bbs_address": "bbs:8889"}, "invalid-bbs-address", 1),
        ({"locket_address": ""}, "invalid-locket-config", 2),
        ({"key_file": ""}, "missing-tls-files", 2),
        ({"redact_patterns": ["("]}, "invalid-redact-pattern", 2),
    ],
)
def test_fatal_values(values: dict[str, Any], message: str, status: int) -> None:
    with pytest.raises(InvalidConfig) as caught:
        validate(read(**values))
    assert [problem.message for problem in caught.value.problems] == [message]
    assert caught.value.exit_status == status


def test_all_problems_of_a_kind_are_named_at_once() -> None:
    with pytest.raises(InvalidConfig) as caught:
        validate(read(container_max_cpu_shares=0, post_setup_hook="x"))
    assert caught.value.message == "failed-to-configure-executor"
    assert caught.value.problems == [
        Problem("max-cpu-shares-invalid", "container_max_cpu_shares is 0"),
        Problem("post-setup-hook-requires-a-user", "post_setup_hook is set, post_setup_user is not"),
    ]


def test_the_proxy_costs_memory_only_when_enabled() -> None:
    assert read().proxy_allocation_mb == 0
    assert read(enable_container_proxy=True).proxy_allocation_mb == 32


def test_logs_go_nowhere_without_an_identity() -> None:
    assert not read().loggregator.enabled
    paths = {f"loggregator_{name}_path": f"/{name}" for name in ("ca", "cert", "key")}
    assert read(loggregator=paths).loggregator.enabled


def test_the_executor_gets_what_the_file_says() -> None:
    made = executor_config(
        read(
            memory_mb="1024",
            zone="z1",
            graceful_shutdown_interval="12s",
            post_setup_hook="sh -c 'a b'",
            post_setup_user="vcap",
            preloaded_root_fs=["cflinuxfs4:cloudfoundry/cflinuxfs4:latest"],
            garden_healthcheck_process_env=["A=1=2"],
            container_max_count=10,
            docker_host="tcp://docker:2375",
            archive_free_bytes=1,
            archive_ratio=2,
            archive_members=3,
            archive_depth=4,
        )
    )
    assert (made.cell_id, made.zone) == ("cell-1", "z1")
    assert (made.memory_mb, made.disk_mb) == (1024, None)
    assert made.graceful_shutdown_interval_s == 12.0
    assert made.post_setup_hook == ("sh", "-c", "a b")
    assert made.sidecar_root_fs == "cloudfoundry/cflinuxfs4:latest"
    assert made.garden_healthcheck_process_env == (("A", "1=2"),)
    assert (made.max_containers, made.docker_host) == (10, "tcp://docker:2375")
    assert made.archive_limits == ArchiveLimits(free_bytes=1, ratio=2, members=3, depth=4)


def test_archives_are_bounded_by_default() -> None:
    assert executor_config(read()).archive_limits == DEFAULT_LIMITS


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({}, "/a"),
        ({"sidecar_root_fs": "b"}, "/b"),
        ({"sidecar_root_fs": "b", "sidecar_root_fs_path": "/own"}, "/own"),
        ({"preloaded_root_fs": []}, ""),
    ],
)
def test_the_root_filesystem_of_probes(values: dict[str, Any], path: str) -> None:
    assert config.sidecar_root_fs(read(**{"preloaded_root_fs": ["a:/a", "b:/b"], **values})) == path


def test_a_probe_stack_the_cell_does_not_have() -> None:
    with pytest.raises(UnknownStack):
        executor_config(read(sidecar_root_fs="none"))
