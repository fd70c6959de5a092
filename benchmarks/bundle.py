"""Cost of a health check in a container, start to exit: the bundle's ``healthcheck`` against busybox.

Both check the same port of the same container. A shell loop inside the container starts them, so the figures
do not include the cost of entering the container. Debian's busybox has ``nc`` without ``-z``: it gets no
input and exits when the app closes the connection. The benchmark also prints the size of the bundle. Goals:
under 60 ms, under 25 MB.

    .venv/bin/python -m benchmarks.bundle
"""

from __future__ import annotations

import secrets
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.figures import Figure, arguments_of, hand_on

ROOT = Path(__file__).resolve().parent.parent
PORT = 8080
LIBRARY = "/lifecycle/lib"


def run(*command: str | Path) -> str:
    return subprocess.run(
        list(map(str, command)), check=True, stdout=subprocess.PIPE, text=True
    ).stdout.strip()


def loop_milliseconds(container: str, count: int, command: str) -> float:
    """Milliseconds per run of a command that must succeed, measured inside the container."""
    script = f"t0=$(date +%s%N); i=0; while [ $i -lt {count} ]; do {command} || exit 1; i=$((i+1)); done; "
    script += "echo $(($(date +%s%N)-t0))"
    return int(run("docker", "exec", container, "/bin/sh", "-c", script)) / count / 1e6


def main() -> None:
    parser = arguments_of(__doc__)
    parser.add_argument("--n", type=int, default=50, help="runs of each command per round")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    image = f"diego-cell/bench-bundle-{secrets.token_hex(4)}:1"
    container = f"bench-bundle-{secrets.token_hex(4)}"
    with tempfile.TemporaryDirectory() as folder:
        run(sys.executable, "-m", "lifecycle.bundle.build", "--output", folder)
        size = Path(folder, "lifecycle.tgz").stat().st_size
        tree = Path(folder, "tree")
        run(sys.executable, "-m", "lifecycle.bundle.build", "--tree-only", tree)
        on_disk = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file())
        run("docker", "import", run(sys.executable, ROOT / "tests/support/roots.py", "debian"), image)
        try:
            busybox = shutil.which("busybox") or "/bin/busybox"
            run("docker", "network", "create", container)
            listen = [f"{LIBRARY}/ld.so", "--library-path", LIBRARY, f"{LIBRARY}/python3", "-I", "-S", "-c"]
            binds = ["-v", f"{tree}:/lifecycle:ro", "-v", f"{busybox}:/bin/busybox:ro"]
            options = ["--name", container, "--network", container, *binds]
            run("docker", "run", "-d", *options, image, *listen, LISTEN)
            address = run("docker", "exec", container, "/bin/sh", "-c", "hostname -I").split()[0]
            checks = {
                "healthcheck tcp": f"/lifecycle/healthcheck -port={PORT}",
                "healthcheck http": f"/lifecycle/healthcheck -port={PORT} -uri=/",
                "busybox nc": f"/bin/busybox nc -w 1 {address} {PORT} </dev/null",
            }
            best = {
                name: min(loop_milliseconds(container, arguments.n, command) for _ in range(arguments.rounds))
                for name, command in checks.items()
            }
        finally:
            subprocess.run(["docker", "rm", "-f", container], capture_output=True, check=False)
            subprocess.run(["docker", "network", "rm", container], capture_output=True, check=False)
            subprocess.run(["docker", "rmi", image], capture_output=True, check=False)
    for name, milliseconds in best.items():
        print(f"{name:18} {milliseconds:6.1f} ms")
    print(f"{'lifecycle.tgz':18} {size / 1e6:6.1f} MB, {on_disk / 1e6:.1f} MB unpacked")
    floor = best["busybox nc"]
    hand_on(
        [
            Figure("tcp", best["healthcheck tcp"], "ms", floor=floor),
            Figure("http", best["healthcheck http"], "ms", floor=floor),
            Figure("compressed", size / 1e6, "MB"),
            Figure("unpacked", on_disk / 1e6, "MB"),
        ],
        arguments.json,
    )


LISTEN = f"""
import _socket
listener = _socket.socket()
listener.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
listener.bind(("", {PORT}))
listener.listen(128)
while True:
    fd, _ = listener._accept()
    sock = _socket.socket(fileno=fd)
    sock.settimeout(1)
    try:
        if sock.recv(4096):
            sock.send(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n")
    except OSError:
        pass
    sock.close()
"""
"""A one-file app: accepts connections and answers requests."""

if __name__ == "__main__":
    main()
