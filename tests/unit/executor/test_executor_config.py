"""Invalid settings of the executor: refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from executor.config import ExecutorConfig

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"container_max_cpu_shares": 0}, "container_max_cpu_shares must be positive, not 0"),
        ({"healthy_monitoring_interval_s": 0}, "healthy_monitoring_interval_s must be positive"),
        ({"unhealthy_monitoring_interval_s": -1}, "unhealthy_monitoring_interval_s must be positive"),
        ({"garden_healthcheck_interval_s": 0}, "garden_healthcheck_interval_s must be positive"),
        ({"garden_healthcheck_process_path": ""}, "garden_healthcheck_process_path must not be empty"),
        ({"garden_healthcheck_process_user": ""}, "garden_healthcheck_process_user must not be empty"),
        ({"post_setup_hook": ("/hook",)}, "post_setup_hook needs a post_setup_user"),
        ({"path_to_tls_cert": "/c"}, "need each other"),
        ({"max_containers": 1}, "max_containers must be at least 2"),
        ({"archive_ratio": 0}, "archive_ratio must be positive"),
        ({"archive_members": -1}, "archive_members must be positive"),
        ({"orphan_grace_s": -1}, "orphan_grace_s must not be negative"),
        ({"host_port_start": 65000, "host_port_count": 600}, "do not fit below 65536"),
    ],
)
def test_refused(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        ExecutorConfig(**settings)


def test_values_used_when_nobody_gives_one() -> None:
    config = ExecutorConfig(temp_dir="/scratch")
    assert config.work_dir == "/scratch/executor-work"
    assert (config.memory_mb, config.disk_mb, config.max_containers) == (None, None, 250)
    assert config.enable_unproxied_port_mappings
    assert (config.graceful_shutdown_interval_s, config.unhealthy_monitoring_interval_s) == (10.0, 0.5)
