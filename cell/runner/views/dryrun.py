"""Dry run: every step with its user, variables and limits."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from bbs.models.actions import DownloadAction, RunAction, UploadAction
from bbs.models.workload import SecurityGroupRule
from cell.runner.request import Order
from cell.story.plan import Node, plan
from executor.environment import merge_env


def dry_run_lines(order: Order) -> Iterator[str]:
    """The lines to print."""
    info, allocation = order.info, order.allocation
    yield f"{order.kind} {order.name}".rstrip()
    yield f"  root filesystem  {info.root_fs}{'  (privileged)' if info.privileged else ''}"
    yield (
        f"  limits           memory {_mib(allocation.memory_mb)}, disk {_mib(allocation.disk_mb)}, "
        f"processes {allocation.max_pids or 'unlimited'}"
    )
    if info.ports:
        mappings = [f"{order.host_ports.get(port) or 'any'} -> {port}" for port in info.ports]
        yield f"  ports            {', '.join(mappings)}"
    if info.env:
        yield f"  env              {_env(merge_env(info.env))}"
    for dependency in info.cached_dependencies:
        name = f"  ({dependency.name})" if dependency.name else ""
        yield f"  dependency       {dependency.from_} -> {dependency.to}{name}"
    for rule in info.egress_rules:
        yield f"  egress           {_rule(rule)}"
    if order.result_file:
        yield f"  result file      {order.result_file}"
    yield "  every run step also gets the image's variables and CF_INSTANCE_*, and USER, HOME, PATH"
    for root in plan(info):
        yield ""
        yield from _node_lines(root, info.env, "")


def _node_lines(node: Node, env: tuple[tuple[str, str], ...], indent: str) -> Iterator[str]:
    yield f"{indent}{node.path}  {node.label}".rstrip()
    inner = f"{indent}    "
    match node.action:
        case RunAction() as run if node.kind == "run":
            where = run.dir or "the user's home"
            yield f"{inner}user {run.user}, in {where}, logs as {node.source}"
            own = [(variable.name, variable.value) for variable in run.env]
            if effective := merge_env(env, own):
                yield f"{inner}env {_env(effective)}"
            limits = run.resource_limits
            if limits is not None and limits.nofile is not None:
                yield f"{inner}at most {limits.nofile} open files"
            if run.suppress_log_output:
                yield f"{inner}its output is not logged"
        case DownloadAction() as download:
            yield f"{inner}from {download.from_}"
            cached = f", cached as {download.cache_key}" if download.cache_key else ", not cached"
            yield f"{inner}to {download.to}, owned by {download.user}{cached}"
        case UploadAction() as upload:
            yield f"{inner}{upload.from_}, posted to {upload.to}"
        case _:
            pass
    for child in node.children:
        yield from _node_lines(child, env, f"{indent}  ")


def _env(variables: tuple[tuple[str, str], ...]) -> str:
    return " ".join(f"{name}={shlex.quote(value)}" for name, value in variables)


def _rule(rule: SecurityGroupRule) -> str:
    """One rule as text, such as ``tcp 10.0.0.0/8 80,443``."""
    ports = [str(port) for port in rule.ports]
    if rule.port_range is not None:
        ports.append(f"{rule.port_range.start}-{rule.port_range.end}")
    icmp = [] if rule.icmp_info is None else [f"type {rule.icmp_info.type} code {rule.icmp_info.code}"]
    log = ["logged"] if rule.log else []
    return " ".join(
        [rule.protocol, ",".join(rule.destinations), *([",".join(ports)] if ports else []), *icmp, *log]
    )


def _mib(amount: int) -> str:
    return f"{amount} MiB" if amount else "unlimited"
