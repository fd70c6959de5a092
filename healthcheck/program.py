"""The ``healthcheck`` program: checks one port of the container, once or in one of four loops.

The program starts often, and its start-up cost counts against the app. This module and its top-level
imports therefore avoid everything that a TCP check does not need: no ``socket``, no ``typing``, no
``asyncio``.
"""

from __future__ import annotations

import sys
import time

from common.goerrors import reason
from common.goflags import FlagExit, FlagSet
from common.gotext import SECOND, format_duration
from healthcheck import attempt, failure
from healthcheck.addresses import choose, interfaces, ipv4_addresses
from healthcheck.dial import Deadline
from healthcheck.failure import ProbeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

NO_INTERFACES = 1
UNKNOWN = 127
_FOREVER = Deadline(None)


def main(argv: list[str]) -> int:
    """Run the check that ``argv`` describes. Failures go to standard error; standard output stays empty."""
    try:
        return _run(argv)
    except Exception as error:  # noqa: BLE001 - the edge of a process
        return _fail(f"Unknown error encountered in healthcheck: {error}", UNKNOWN)


def _run(argv: list[str]) -> int:
    flags = _flags(argv[0])
    try:
        flags.parse(argv[1:])
    except FlagExit as ending:
        return ending.status
    begun = time.monotonic()
    try:
        order = interfaces()
    except OSError as error:
        return _fail(f"Failed to get interfaces: {reason(error)}", NO_INTERFACES)

    def check(limit: Deadline) -> None:
        _attempt(flags, order, limit)

    startup = flags.number("startup-interval")
    if startup > 0:
        return _until_up(check, startup, flags.number("startup-timeout"), begun)
    for mode in ("liveness", "readiness"):
        interval = flags.number(f"{mode}-interval")
        if interval > 0:
            return _until_down(check, interval, f"{mode.capitalize()} check unsuccessful: ")
    interval = flags.number("until-ready-interval")
    if interval > 0:
        return _until_ready(check, interval)
    try:
        check(_FOREVER)
    except ProbeError as error:
        return _fail(str(error), error.exit_code)
    return 0


def _flags(name: str) -> FlagSet:
    flags = FlagSet(name)
    flags.string("network", "tcp", "network to dial for the port check")
    flags.string("uri", "", "path to GET; empty checks the port only")
    flags.string("port", "8080", "port to check")
    flags.duration("timeout", SECOND, "time for each attempt")
    flags.duration("startup-interval", 0, "check in this interval until the first success")
    flags.duration("startup-timeout", 60 * SECOND, "time for the first success to come; 0 for no limit")
    flags.duration("liveness-interval", 0, "check in this interval until the first failure")
    flags.duration("readiness-interval", 0, "check in this interval until the first failure")
    flags.duration("until-ready-interval", 0, "check in this interval until the first success, however long")
    return flags


def _attempt(flags: FlagSet, order: list[int], limit: Deadline) -> None:
    """Run one attempt, bounded by its own timeout and by ``limit``. Raises ProbeError."""
    try:
        host = choose(order, ipv4_addresses())
    except OSError as error:
        sys.stderr.write(f"Warning: failed getting addresses for interface {order}: {reason(error)}\n")
        host = None
    if host is None:
        raise failure.no_interface()
    port, uri, timeout = flags.text("port"), flags.text("uri"), flags.number("timeout")
    if uri:
        attempt.http(host, port, uri, timeout, limit)
    else:
        attempt.tcp(flags.text("network"), host, port, timeout, limit)


def _until_up(check: Callable[[Deadline], None], interval: int, timeout: int, begun: float) -> int:
    """Startup mode: attempts on a fixed clock from the program's start; at most one missed tick counts."""
    limit = Deadline(begun + timeout / SECOND if timeout > 0 else None)
    period = interval / SECOND
    tick = begun + period
    last: ProbeError | None = None
    attempts = 0
    while True:
        attempts += 1
        try:
            check(limit)
            return 0
        except ProbeError as error:
            # An attempt cut short by the limit is not reported, unless it is the only one.
            if last is None or not limit.passed:
                last = error
        now = time.monotonic()
        if tick <= now:
            tick += period * (int((now - tick) / period) + 1)
        else:
            until = tick if limit.at is None else min(tick, limit.at)
            time.sleep(max(until - time.monotonic(), 0))
            tick += period
        if limit.passed:
            waited = f"Timed out after {format_duration(timeout)} ({attempts} attempts)"
            return _fail(f"{waited} waiting for startup check to succeed: {last}", last.exit_code)


def _until_down(check: Callable[[Deadline], None], interval: int, prefix: str) -> int:
    """Liveness and readiness mode: run until the first failure."""
    while True:
        try:
            check(_FOREVER)
        except ProbeError as error:
            return _fail(f"{prefix}{error}", error.exit_code)
        time.sleep(interval / SECOND)


def _until_ready(check: Callable[[Deadline], None], interval: int) -> int:
    """Run until the first success; failures are not reported."""
    while True:
        try:
            check(_FOREVER)
            return 0
        except ProbeError:
            time.sleep(interval / SECOND)


def _fail(message: str, status: int) -> int:
    sys.stderr.write(f"{message}\n")
    return status
