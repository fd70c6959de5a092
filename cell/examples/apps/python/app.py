"""Says which instance answers."""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hello(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = f"hello from Python, instance {os.environ['INSTANCE_INDEX']}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


port = int(os.environ["PORT"])
print(f"listening on {port}")
ThreadingHTTPServer(("0.0.0.0", port), Hello).serve_forever()
