"""DesiredLRPs of apps: launcher, sidecars and sshd in parallel, and checks in both forms."""

from __future__ import annotations

from bbs.models.actions import (
    Action,
    CodependentAction,
    DownloadAction,
    ParallelAction,
    RunAction,
    SerialAction,
    TimeoutAction,
)
from bbs.models.codec import compact
from bbs.models.common import EnvironmentVariable
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.workload import CachedDependency, Check, CheckDefinition, HTTPCheck, ImageLayer, TCPCheck
from cell.apps.recipes.parts import (
    DOCKER_LIFECYCLE_KEY,
    LANG,
    LIMITS,
    UNLIMITED_LOGS,
    app_environment,
    buildpack_lifecycle_key,
    certificate_properties,
    cpu_weight,
    exclusive_layer,
    lifecycle_dependency,
    lifecycle_layer,
    network,
    process_tags,
    variables,
)
from cell.apps.recipes.values import (
    APPS_DOMAIN,
    DROPLET_DIR,
    LIFECYCLE_DIR,
    MAX_PIDS,
    SSH_PORT,
    TRUSTED_CERTIFICATES,
    VCAP,
    Droplet,
    Image,
    Keys,
    Process,
)

LAUNCHER = f"{LIFECYCLE_DIR}/launcher"
SSHD = f"{LIFECYCLE_DIR}/diego-sshd"
HEALTHCHECK = f"{LIFECYCLE_DIR}/healthcheck"
MONITOR_TIMEOUT_MS = 600_000
SSH_ROUTE = "diego-ssh"


def buildpack_lrp(process: Process, droplet: Droplet) -> DesiredLRP:
    """A droplet in the home directory of vcap, started by the buildpack launcher."""
    port = str(process.ports[0])
    return _lrp(
        process,
        user=VCAP,
        port_variables={"PORT": port, "VCAP_APP_PORT": port, "VCAP_APP_HOST": "0.0.0.0"},
        root_fs=f"preloaded:{droplet.stack}",
        environment_variables=LANG,
        droplet_layers=(exclusive_layer("droplet", droplet.asset, DROPLET_DIR),),
        setup=SerialAction(
            actions=(
                DownloadAction(
                    artifact="droplet",
                    from_=droplet.asset.url,
                    to=".",
                    cache_key=f"droplets-{process.guid}",
                    user=VCAP,
                    checksum_algorithm="sha256",
                    checksum_value=droplet.asset.sha256,
                ),
            )
        ),
        lifecycle_key=buildpack_lifecycle_key(droplet.stack),
    )


def docker_lrp(process: Process, image: Image) -> DesiredLRP:
    """An image, started by the docker launcher."""
    return _lrp(
        process,
        user=image.user,
        port_variables={"PORT": str(process.ports[0])},
        root_fs=image.rootfs,
        lifecycle_key=DOCKER_LIFECYCLE_KEY,
        image_username=image.username,
        image_password=image.password,
    )


def ssh_route(keys: Keys, fingerprint: str) -> dict[str, object]:
    """The ssh proxy's route to an instance. fingerprint: of the host key."""
    return {
        "container_port": SSH_PORT,
        "private_key": keys.user_private,
        "host_fingerprint": fingerprint,
    }


def sshd_arguments(keys: Keys) -> tuple[str, ...]:
    return (
        f"-address=0.0.0.0:{SSH_PORT}",
        f"-hostKey={keys.host_private}",
        f"-authorizedKey={keys.user_public}",
        "-inheritDaemonEnv",
        "-logLevel=fatal",
    )


def raw_routes(routes: dict[str, object]) -> dict[str, bytes]:
    """The routes in wire form."""
    return {name: compact(value).encode() for name, value in routes.items()}


def _lrp(
    process: Process,
    *,
    user: str,
    port_variables: dict[str, str],
    root_fs: str,
    lifecycle_key: str,
    environment_variables: tuple[EnvironmentVariable, ...] = (),
    setup: Action | None = None,
    droplet_layers: tuple[ImageLayer, ...] = (),
    image_username: str = "",
    image_password: str = "",
) -> DesiredLRP:
    """setup or droplet_layers: the delivery of the droplet, in either form."""
    app = process.app
    routes = dict(process.routes)
    if process.keys:
        routes[SSH_ROUTE] = {
            **ssh_route(process.keys, process.keys.host_sha1),
            "host_256_fingerprint": process.keys.host_sha256,
        }
    dependencies: tuple[CachedDependency, ...] = ()
    layers: tuple[ImageLayer, ...] = ()
    if process.layers:
        setup = None
        layers = (lifecycle_layer(process.lifecycle_url, lifecycle_key), *droplet_layers)
    else:
        dependencies = (lifecycle_dependency(process.lifecycle_url, lifecycle_key),)
    return DesiredLRP(
        process_guid=process.guid,
        domain=APPS_DOMAIN,
        root_fs=root_fs,
        instances=process.instances,
        environment_variables=environment_variables,
        setup=setup,
        action=CodependentAction(actions=_processes(process, user, port_variables)),
        monitor=_monitor(process, user),
        check_definition=_check_definition(process),
        start_timeout_ms=process.start_timeout_s * 1000,
        disk_mb=app.disk_mb,
        memory_mb=app.memory_mb,
        cpu_weight=cpu_weight(app.memory_mb),
        ports=(*process.ports, SSH_PORT) if process.keys else process.ports,
        routes=raw_routes(routes),
        log_source="CELL",
        log_guid=app.guid,
        metrics_guid=app.guid,
        annotation=process.annotation,
        egress_rules=process.egress_rules,
        cached_dependencies=dependencies,
        image_layers=layers,
        legacy_download_user=user,
        trusted_system_certificates_path=TRUSTED_CERTIFICATES,
        network=network(app, process.ports, "app"),
        max_pids=MAX_PIDS,
        certificate_properties=certificate_properties(app),
        image_username=image_username,
        image_password=image_password,
        metric_tags=process_tags(process),
        log_rate_limit=UNLIMITED_LOGS,
    )


def _processes(process: Process, user: str, port_variables: dict[str, str]) -> tuple[Action, ...]:
    source = f"APP/PROC/{process.type.upper()}"

    def environment(memory_mb: int) -> dict[str, str]:
        return {**port_variables, **app_environment(process.app, memory_mb, process)}

    def launch(command: str, memory_mb: int, log_source: str) -> RunAction:
        return RunAction(
            path=LAUNCHER,
            user=user,
            args=("app", command, process.execution_metadata),
            env=variables(environment(memory_mb)),
            resource_limits=LIMITS,
            log_source=log_source,
        )

    memory_mb = process.app.memory_mb
    actions: list[Action] = [launch(process.command, memory_mb, source)]
    for sidecar in process.sidecars:
        own = memory_mb if sidecar.memory_mb is None else sidecar.memory_mb
        actions.append(launch(sidecar.command, own, f"{source}/SIDECAR/{sidecar.name.upper()}"))
    if process.keys:
        actions.append(
            RunAction(
                path=SSHD,
                user=user,
                args=sshd_arguments(process.keys),
                env=variables(environment(memory_mb)),
                resource_limits=LIMITS,
                log_source="CELL/SSHD",
            )
        )
    return tuple(actions)


def _monitor(process: Process, user: str) -> Action | None:
    health = process.health
    if health.kind not in ("port", "http"):
        return None

    def check(port: int) -> RunAction:
        args = [f"-port={port}"]
        if health.kind == "http":
            args.append(f"-uri={health.path}")
        if health.timeout_s:
            args.append(f"-timeout={health.timeout_s}s")
        return RunAction(
            path=HEALTHCHECK,
            user=user,
            args=tuple(args),
            resource_limits=LIMITS,
            log_source="HEALTH",
            suppress_log_output=True,
        )

    checks = tuple(check(port) for port in _checked_ports(process))
    return TimeoutAction(timeout_ms=MONITOR_TIMEOUT_MS, action=ParallelAction(actions=checks))


def _check_definition(process: Process) -> CheckDefinition | None:
    """The monitor's checks, for cells with declarative checks."""
    health = process.health
    if health.kind not in ("port", "http"):
        return None
    timeout_ms = health.timeout_s * 1000

    def check(port: int) -> Check:
        if health.kind == "http":
            return Check(http_check=HTTPCheck(port=port, path=health.path, request_timeout_ms=timeout_ms))
        return Check(tcp_check=TCPCheck(port=port, connect_timeout_ms=timeout_ms))

    ready = HTTPCheck(port=process.ports[0], path=health.readiness_path)
    return CheckDefinition(
        checks=tuple(check(port) for port in _checked_ports(process)),
        readiness_checks=(Check(http_check=ready),) if health.readiness_path else (),
    )


def _checked_ports(process: Process) -> tuple[int, ...]:
    return process.ports[:1] if process.health.kind == "http" else process.ports
