"""Translation of ``rep.json`` into the executor's configuration."""

from __future__ import annotations

import os
import shlex

from executor.config import ExecutorConfig, OnStop
from rep.config.keys import RepConfig
from rep.config.values import seconds
from rep.ending import Ending, of_failure
from rep.rootfs import StackMap, UnknownStack


def executor_config(config: RepConfig) -> ExecutorConfig:
    """Settings of the cell's executor. Raises UnknownStack, InvalidPreloadedRootFS, ValueError."""
    return ExecutorConfig(
        cell_id=config.cell_id,
        zone=config.zone,
        memory_mb=_amount(config.memory_mb),
        disk_mb=_amount(config.disk_mb),
        auto_disk_capacity_overhead_mb=config.auto_disk_capacity_overhead_mb,
        max_containers=config.container_max_count,
        cache_path=config.cache_path,
        max_cache_size_bytes=config.max_cache_size_in_bytes,
        temp_dir=config.temp_dir,
        max_concurrent_downloads=config.max_concurrent_downloads,
        path_to_tls_cert=config.path_to_tls_cert,
        path_to_tls_key=config.path_to_tls_key,
        path_to_tls_ca_cert=config.path_to_tls_ca_cert,
        path_to_ca_certs_for_downloads=config.path_to_ca_certs_for_downloads,
        skip_cert_verify=config.skip_cert_verify,
        create_work_pool_size=config.create_work_pool_size,
        delete_work_pool_size=config.delete_work_pool_size,
        read_work_pool_size=config.read_work_pool_size,
        metrics_work_pool_size=config.metrics_work_pool_size,
        healthcheck_work_pool_size=config.healthcheck_work_pool_size,
        reserved_expiration_time_s=seconds(config.reserved_expiration_time),
        container_reap_interval_s=seconds(config.container_reap_interval),
        container_owner_name=config.container_owner_name,
        healthcheck_container_owner_name=config.healthcheck_container_owner_name,
        container_max_cpu_shares=config.container_max_cpu_shares,
        set_cpu_weight=config.set_cpu_weight,
        container_metrics_report_interval_s=seconds(config.container_metrics_report_interval),
        graceful_shutdown_interval_s=seconds(config.graceful_shutdown_interval),
        post_setup_hook=tuple(shlex.split(config.post_setup_hook)),
        post_setup_user=config.post_setup_user,
        healthy_monitoring_interval_s=seconds(config.healthy_monitoring_interval),
        unhealthy_monitoring_interval_s=seconds(config.unhealthy_monitoring_interval),
        declarative_healthcheck_path=config.declarative_healthcheck_path,
        declarative_healthcheck_default_timeout_s=seconds(config.declarative_healthcheck_default_timeout),
        enable_healthcheck_metrics=config.enable_healthcheck_metrics,
        enable_unproxied_port_mappings=config.enable_unproxied_port_mappings,
        advertise_preference_for_instance_address=config.advertise_preference_for_instance_address,
        trusted_system_certificates_path=config.trusted_system_certificates_path,
        volume_mounted_files=config.volume_mounted_files,
        volman_driver_paths=tuple(filter(None, config.volman_driver_paths.split(os.pathsep))),
        container_inode_limit=config.container_inode_limit,
        instance_identity_cred_dir=config.instance_identity_cred_dir,
        instance_identity_ca_path=config.instance_identity_ca_path,
        instance_identity_private_key_path=config.instance_identity_private_key_path,
        instance_identity_validity_period_s=seconds(config.instance_identity_validity_period),
        max_log_lines_per_second=config.max_log_lines_per_second,
        log_origin=config.loggregator.loggregator_job_origin,
        app_metric_exclusion_filter=config.loggregator.loggregator_app_metric_exclusion_filter,
        sidecar_root_fs=sidecar_root_fs(config),
        garden_healthcheck_interval_s=seconds(config.garden_healthcheck_interval),
        garden_healthcheck_timeout_s=seconds(config.garden_healthcheck_timeout),
        garden_healthcheck_emission_interval_s=seconds(config.garden_healthcheck_emission_interval),
        garden_healthcheck_command_retry_pause_s=seconds(config.garden_healthcheck_command_retry_pause),
        garden_healthcheck_process_path=config.garden_healthcheck_process_path,
        garden_healthcheck_process_args=config.garden_healthcheck_process_args,
        garden_healthcheck_process_user=config.garden_healthcheck_process_user,
        garden_healthcheck_process_env=tuple(map(_pair, config.garden_healthcheck_process_env)),
        garden_healthcheck_process_dir=config.garden_healthcheck_process_dir,
        state_dir=config.state_dir,
        on_stop=_on_stop(config),
        orphan_grace_s=seconds(config.orphan_grace_period),
        docker_host=config.docker_host,
        network_name=config.network_name,
        network_subnet=config.network_subnet,
        network_mtu=config.network_mtu,
        host_port_start=config.host_port_start,
        host_port_count=config.host_port_count,
        external_ip=config.external_ip,
        nft_table=config.nft_table,
        instance_identity_key_type=config.instance_identity_key_type,
        instance_identity_keys_ready=config.instance_identity_keys_ready,
        volume_bind_paths=config.volume_bind_paths,
        allow_privileged_containers=config.allow_privileged_containers,
        container_no_new_privileges=config.container_no_new_privileges,
        container_limits_interval_s=seconds(config.container_limits_interval),
        container_max_cpu_percent=config.container_max_cpu_percent,
        archive_free_bytes=config.archive_free_bytes,
        archive_ratio=config.archive_ratio,
        archive_members=config.archive_members,
        archive_depth=config.archive_depth,
    )


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
