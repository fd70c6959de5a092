"""One attempt of a check with a time limit: a TCP connection, or an HTTP request with its redirects."""

from __future__ import annotations

import _socket
import time

from common.gotext import SECOND
from healthcheck import failure
from healthcheck.dial import Deadline, DialError, check_port, connect
from healthcheck.exchange import check_url, follow, request, target_port
from healthcheck.reading import MAX_REQUESTS, Answer, ExchangeError, Reader

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl

    from common.gourl import URL

_RECEIVE_BYTES = 1 << 16


def tcp(network: str, host: str, port: str, timeout: int, limit: Deadline) -> None:
    """Connect within ``timeout`` ns; with 0, only the kernel's own limit applies. Raises ProbeError."""
    seconds = timeout / SECOND
    deadline = Deadline.after(None if timeout == 0 else seconds).or_sooner(limit)
    try:
        check_port(network, host, port, deadline)
    except TimeoutError as error:
        raise failure.tcp_timeout(host, port, seconds) from error
    except DialError as error:
        raise failure.tcp_error(host, port, str(error)) from error


def http(host: str, port: str, uri: str, timeout: int, limit: Deadline) -> None:
    """GET ``uri`` and pass if the final status is exactly 200. Raises ProbeError.

    ``timeout`` in ns covers everything up to the end of the body; 0 or less means no timeout. A body that
    breaks or times out does not change the result: the status decides.
    """
    url = check_url(host, port, uri)
    if url is None:
        raise failure.bad_request(uri, port)
    deadline = Deadline.after(timeout / SECOND if timeout > 0 else None).or_sooner(limit)
    begun = time.monotonic()
    try:
        answer, connection = _final_answer(url, deadline)
    except TimeoutError as error:
        raise failure.http_timeout(uri, port, timeout / SECOND) from error
    except (OSError, ExchangeError, ValueError, OverflowError) as error:
        raise failure.http_error(uri, port) from error
    milliseconds = int((time.monotonic() - begun) * 1000)
    try:
        connection.reader.drop_body(answer)
    except (OSError, ExchangeError, ValueError):
        pass  # a broken body does not change the result
    finally:
        connection.close()
    if answer.status != 200:
        raise failure.http_status(uri, port, answer.status, milliseconds)


class _Connection:
    """One connection for one request."""

    def __init__(self, url: URL, deadline: Deadline) -> None:
        self._deadline = deadline
        self._tls: ssl.SSLSocket | None = None
        host, _ = url.hostname_and_port()
        number = target_port(url)
        family, address = _resolve(host, deadline)
        self._sock = connect(address, number, deadline, family)
        self.reader = Reader(self._receive)
        if url.scheme == "https":
            self._secure(host)

    def _secure(self, host: str) -> None:
        import socket  # imported only for a redirect to https

        from common.imagetls import client_context

        plain = socket.socket(fileno=self._sock.detach())
        self._deadline.apply(plain)
        self._tls = client_context().wrap_socket(plain, server_hostname=host)

    def send(self, data: bytes) -> None:
        sock = self._tls or self._sock
        self._deadline.apply(sock)
        sock.sendall(data)

    def _receive(self) -> bytes:
        sock = self._tls or self._sock
        self._deadline.apply(sock)
        return sock.recv(_RECEIVE_BYTES)

    def close(self) -> None:
        (self._tls or self._sock).close()


def _final_answer(url: URL, deadline: Deadline) -> tuple[Answer, _Connection]:
    previous = None
    for _ in range(MAX_REQUESTS):
        connection = _Connection(url, deadline)
        try:
            connection.send(request(url, previous))
            answer = connection.reader.head()
            if not answer.location:
                return answer, connection
            previous, url = url, follow(url, answer.location)
        except BaseException:
            connection.close()
            raise
        connection.close()
    raise ExchangeError(f"stopped after {MAX_REQUESTS} redirects")


def _resolve(host: str, deadline: Deadline) -> tuple[int, str]:
    """Address family and address of a host. A name (possible only in a redirect) is looked up within the
    deadline.

    Raises OSError, including TimeoutError.
    """
    try:
        _socket.inet_pton(_socket.AF_INET, host)
        return _socket.AF_INET, host
    except OSError:
        pass
    import _thread

    found: list[tuple[int, str]] = []
    done = _thread.allocate_lock()
    done.acquire()

    def look_up() -> None:
        try:
            family, _, _, _, address = _socket.getaddrinfo(host, None, 0, _socket.SOCK_STREAM)[0]
            found.append((int(family), str(address[0])))
        except OSError:
            pass  # the empty answer reports the failure
        finally:
            done.release()

    # The resolver cannot be interrupted. A leftover thread ends with the process.
    _thread.start_new_thread(look_up, ())
    left = -1.0 if deadline.at is None else max(deadline.at - time.monotonic(), 0)
    if not done.acquire(timeout=left):
        raise TimeoutError(f"looking up {host} took too long")
    if not found:
        raise OSError(f"no address of {host}")
    return found[0]
