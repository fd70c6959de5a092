"""How a check fails: exit codes and texts of the ``healthcheck`` program."""

from __future__ import annotations

NO_INTERFACE = 3
TCP_ERROR = 4
HTTP_ERROR = 5
HTTP_STATUS = 6
TCP_TIMEOUT = 64
HTTP_TIMEOUT = 65


class CheckError(Exception):
    """An attempt did not pass. ``str()`` is the program's text, ``code`` its exit code."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


def no_interface() -> CheckError:
    return CheckError("failure to find suitable interface", NO_INTERFACE)


def tcp_timeout(host: str, port: str, timeout: float) -> CheckError:
    """``timeout`` in s, as configured."""
    text = f"failed to make TCP connection to {host}:{port}: timed out after {timeout:.2f} seconds"
    return CheckError(text, TCP_TIMEOUT)


def tcp_error(host: str, port: str, reason: str) -> CheckError:
    return CheckError(f"failed to make TCP connection to {host}:{port}: {reason}", TCP_ERROR)


def http_timeout(uri: str, port: str, timeout: float) -> CheckError:
    """``timeout`` in s, as configured."""
    text = f"failed to make HTTP request to '{uri}' on port {port}: timed out after {timeout:.2f} seconds"
    return CheckError(text, HTTP_TIMEOUT)


def http_error(uri: str, port: str) -> CheckError:
    """Whatever went wrong with a request besides its time: the text is the same for all."""
    text = f"failed to make HTTP request to '{uri}' on port {port}: connection refused"
    return CheckError(text, HTTP_ERROR)


def http_status(uri: str, port: str, status: int, milliseconds: int) -> CheckError:
    text = (
        f"failed to make HTTP request to '{uri}' on port {port}: "
        f"received status code {status} in {milliseconds}ms"
    )
    return CheckError(text, HTTP_STATUS)


def bad_request(uri: str, port: str) -> CheckError:
    return CheckError(f"failed to create an HTTP request to '{uri}' on port {port}", HTTP_STATUS)
