"""Failures of a check: exit codes and texts, shared by the ``healthcheck`` program and the agent's probes."""

from __future__ import annotations

NO_INTERFACE = 3
TCP_ERROR = 4
HTTP_ERROR = 5
HTTP_STATUS = 6
TCP_TIMEOUT = 64
HTTP_TIMEOUT = 65


class ProbeError(Exception):
    """A failed check. ``str()`` is the program's text, ``exit_code`` its exit code."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


def no_interface() -> ProbeError:
    return ProbeError("failure to find suitable interface", NO_INTERFACE)


def tcp_timeout(host: str, port: str, timeout: float) -> ProbeError:
    """``timeout`` in s, as configured."""
    text = f"failed to make TCP connection to {host}:{port}: timed out after {timeout:.2f} seconds"
    return ProbeError(text, TCP_TIMEOUT)


def tcp_error(host: str, port: str, reason: str) -> ProbeError:
    return ProbeError(f"failed to make TCP connection to {host}:{port}: {reason}", TCP_ERROR)


def http_timeout(uri: str, port: str, timeout: float) -> ProbeError:
    """``timeout`` in s, as configured."""
    text = f"failed to make HTTP request to '{uri}' on port {port}: timed out after {timeout:.2f} seconds"
    return ProbeError(text, HTTP_TIMEOUT)


def http_error(uri: str, port: str) -> ProbeError:
    """Any failure of a request except a timeout; all have the same text."""
    text = f"failed to make HTTP request to '{uri}' on port {port}: connection refused"
    return ProbeError(text, HTTP_ERROR)


def http_status(uri: str, port: str, status: int, milliseconds: int) -> ProbeError:
    text = (
        f"failed to make HTTP request to '{uri}' on port {port}: "
        f"received status code {status} in {milliseconds}ms"
    )
    return ProbeError(text, HTTP_STATUS)


def bad_request(uri: str, port: str) -> ProbeError:
    return ProbeError(f"failed to create an HTTP request to '{uri}' on port {port}", HTTP_STATUS)
