"""Push an app: stage it, run it, print its addresses.

The DesiredLRP has the form of a Cloud Controller's: launcher, sshd and checks, with the usual variables. A
running app of the same name continues until its new version runs, and stays if the new one does not start.

  cell push examples/apps/python
  cell push shop -i 3 -m 512M --buildpack ~/buildpacks/ruby -e STAGE=test
  cell push --docker-image registry.example.com:5000/team/shop:v3
  cell ssh shop; cell logs shop; cell scale shop 5; cell delete shop
"""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import dataclass, replace
from typing import Any

import click

from bbs.models.actual_lrp import ActualLRP
from bbs.models.codec import dumps
from bbs.models.desired_lrp import DesiredLRP
from cell.apps import images, staging
from cell.apps.blobs import Blobs
from cell.apps.choices import (
    EVERYTHING,
    Choices,
    Credentials,
    app_of,
    check,
    credentials,
    name,
    options,
)
from cell.apps.loglines import AppLog
from cell.apps.lookup import versions
from cell.apps.recipes import classic, lrp
from cell.apps.recipes.values import APP_PORT, App, Droplet, HealthCheck, Image, Process
from cell.apps.routing import AppRoute
from cell.apps.running import address, listens, until_running
from cell.apps.ssh import generate_keys
from cell.apps.staging import StagedApp
from cell.cli import take
from cell.client.session import CommandFailed, Session, bbs_command
from cell.client.target import BadArguments
from cell.client.values import count, whole_seconds

GRACE_S = 10.0
"""Added to the start timeout, for downloads of images and droplets."""
DOMAIN_TTL_S = 0
"""No expiry: no component refreshes the domain of a development cell."""
TAIL_LINES = 10
NO_PORT = "--health-check process"
NEVER_HEALTHY = "never healthy"
"""Part of the reason of an instance whose check did not pass in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The options of the app's instances."""

    instances: int
    command: str
    health_check: str
    endpoint: str
    start_timeout: int
    no_ssh: bool


@bbs_command()
@options
@click.option(
    "-i", "--instances", type=count, default="1", metavar="N", help="number of instances (default: 1)"
)
@click.option(
    "-c", "--command", default="", metavar="COMMAND", help="start command, instead of the staged one"
)
@click.option(
    "-u",
    "--health-check",
    type=click.Choice(["port", "http", "process"]),
    default="port",
    help="kind of health check (default: port)",
)
@click.option("--endpoint", default="/", metavar="PATH", help="path of an http health check (default: /)")
@click.option(
    "-t",
    "--start-timeout",
    type=whole_seconds,
    default="60s",
    metavar="TIME",
    help="time to become healthy (default: 60s)",
)
@click.option("--no-ssh", is_flag=True, help="run no sshd in the instances")
async def push(session: Session, choices: Choices, **values: Any) -> None:
    run = take(Run, values)
    check(choices)
    if choices.classic and run.health_check == "http":
        raise BadArguments("in the form of 2015 there is no http health check")
    if choices.docker_image:
        images.rootfs(choices.docker_image)
    registry = credentials(choices)
    show = staging.progress(session)
    async with Blobs.of(session.target) as blobs:
        earlier = await versions(session.bbs, name(choices))
        app = app_of(choices, earlier[0].log_guid if earlier else "")
        route = AppRoute.of(app.name, session.target.router)
        if route is not None:
            app = replace(app, uris=(route.host,))
        show(f"Staging {app.name}")
        staged = await staging.stage(choices, session, blobs, app, registry)
        desired = await asyncio.to_thread(_desired, choices, run, app, route, staged, blobs, registry)
    show(f"Starting {app.name}: {desired.instances} instance(s) of {desired.process_guid}")
    show(f"Waiting up to {run.start_timeout} s {_awaited(run.health_check, run.endpoint, desired.ports[0])}")
    await session.bbs.upsert_domain(desired.domain, DOMAIN_TTL_S)
    await session.bbs.desire_lrp(desired)
    try:
        rows = await until_running(
            session.bbs, desired.process_guid, desired.instances, run.start_timeout + GRACE_S, show
        )
    except (CommandFailed, asyncio.CancelledError) as failure:
        await session.bbs.remove_desired_lrp(desired.process_guid)
        if isinstance(failure, CommandFailed):
            raise await _with_log(failure, AppLog(session.target, app.guid), run, bool(earlier)) from failure
        raise
    for version in earlier:
        await session.bbs.remove_desired_lrp(version.process_guid)
    await _show(session, app, route, desired, rows)


def _awaited(health_check: str, endpoint: str, port: int) -> str:
    """The condition under which an instance counts as started."""
    match health_check:
        case "port":
            return f"for a listener on port {port}; an app that listens on no port needs {NO_PORT}"
        case "http":
            return f"for status 200 of GET {endpoint} on port {port}"
        case _:
            return "for the process to start; no check of its health follows"


def _desired(
    choices: Choices,
    run: Run,
    app: App,
    route: AppRoute | None,
    staged: StagedApp,
    blobs: Blobs,
    registry: Credentials,
) -> DesiredLRP:
    """The LRP of the staged app. Generates keys, which is slow. Raises BadArguments, CommandFailed."""
    runs = _Runs.of(choices, run, staged)
    process = Process(
        app=app,
        version=str(uuid.uuid4()),
        type=staging.PROCESS_TYPE,
        instances=run.instances,
        command=runs.command,
        execution_metadata=staged.result.execution_metadata,
        sidecars=staged.result.sidecars,
        ports=runs.ports,
        health=HealthCheck(kind=run.health_check, path=run.endpoint),
        keys=None if run.no_ssh else generate_keys(),
        routes=route.routes(runs.ports[0]) if route else {},
        lifecycle_url=blobs.lifecycle_url(runs.bundle),
        start_timeout_s=run.start_timeout,
        egress_rules=EVERYTHING,
        annotation=f"{time.time():.6f}",
        layers=choices.layers,
    )
    if staged.droplet is not None:
        droplet = Droplet(asset=staged.droplet, stack=choices.stack)
        return (classic.buildpack_lrp if choices.classic else lrp.buildpack_lrp)(process, droplet)
    image = Image(
        rootfs=images.rootfs(choices.docker_image or ""),
        user=runs.user,
        username=registry.username,
        password=registry.password,
    )
    return (classic.docker_lrp if choices.classic else lrp.docker_lrp)(process, image)


@dataclass(frozen=True, slots=True)
class _Runs:
    """The run settings from the staging, by lifecycle."""

    command: str
    bundle: str
    user: str
    ports: tuple[int, ...]

    @classmethod
    def of(cls, choices: Choices, run: Run, staged: StagedApp) -> _Runs:
        if staged.droplet is None:
            found = images.Configuration.read(staged.result.execution_metadata)
            return cls(run.command, "docker_app_lifecycle", found.user, found.ports)
        types = staged.result.process_types
        detected = types.get(staging.PROCESS_TYPE, "")
        if not (run.command or detected):
            others = "".join(f"\n   {kind}: {command}" for kind, command in types.items())
            raise CommandFailed(
                f"the app has no process type {staging.PROCESS_TYPE}: give the command that starts it with "
                "--command or in a Procfile"
                + (f"; with {NO_PORT} if it listens on no port. Its types:{others}" if others else "")
            )
        # The launcher finds the detected command in the droplet, except in the form of 2015.
        command = run.command or (detected if choices.classic else "")
        return cls(command, "buildpack_app_lifecycle", "", (APP_PORT,))


async def _with_log(failure: CommandFailed, log: AppLog, run: Run, has_earlier: bool) -> CommandFailed:
    """The failure with the last lines of the app's log and hints."""
    lines = [f"   [{line.label}] {line.message}" for line in (await log.recent())[-TAIL_LINES:]]
    if run.health_check == "port" and NEVER_HEALTHY in str(failure):
        lines.append(f"An app that listens on no port, such as a worker, needs {NO_PORT}.")
    if has_earlier:
        lines.append("The version before goes on.")
    return CommandFailed("\n".join([f"start unsuccessful: {failure}", *lines]))


async def _show(
    session: Session,
    app: App,
    route: AppRoute | None,
    desired: DesiredLRP,
    rows: tuple[ActualLRP, ...],
) -> None:
    """Print the instances, and the app's route or the addresses that accept connections."""
    if not session.output.for_people:
        for row in rows:
            session.output.line(dumps(row))
        return
    if route is not None:
        for row in rows:
            cell = row.actual_lrp_instance_key.cell_id
            session.output.line(f"{app.name}/{row.actual_lrp_key.index} RUNNING on {cell}")
        session.output.line(f"{app.name} {route.url}")
        return
    port = desired.ports[0]
    for row in rows:
        where = address(row, port)
        found = where is not None and await listens(where)
        place = f"http://{where}/" if found else f"(nothing listens on port {port})"
        session.output.line(f"{app.name}/{row.actual_lrp_key.index} RUNNING {place}")
