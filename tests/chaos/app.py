"""App of the kill loop: it runs inside containers, prints numbered lines and serves HTTP.

It prints ``line 0``, ``line 1`` ... every 5 ms. ``GET /`` answers its name, which is new in every life, and
the number of its lines; ``GET /exit`` ends it with status 7. On SIGTERM its last line is ``end COUNT``.
"""

import os
import signal
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LIFE = uuid.uuid4().hex
PAUSE_S = 0.005
CRASH_STATUS = 7

lines = 0
ending = threading.Event()


def write_lines() -> None:
    global lines
    while not ending.is_set():
        os.write(1, b"line %d\n" % lines)
        lines += 1
        time.sleep(PAUSE_S)
    os.write(1, b"end %d\n" % lines)
    os._exit(0)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        body = f"{LIFE} {lines}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        if self.path == "/exit":
            os._exit(CRASH_STATUS)

    def log_message(self, *_: object) -> None:
        """Requests are not logged: the output has only the numbered lines."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    threading.Thread(target=write_lines, daemon=True).start()
    Server(("", 8080), Handler).serve_forever()
