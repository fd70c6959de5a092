"""Runner of golden cases inside a container, with the bundle's interpreter.

Reads ``{"cases": [...], "bundle": path, "ip": address, "certs": path, "workers": n}`` from standard input
and writes a list of ``{"name", "mismatches"}`` to standard output. Standard library only. The README of the
recordings says what the members of a case mean.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from servers import Server, manifest_digest, start_server

FREE = {"MS": r"\d+", "N": r"\d+", "WORK": r"[^ \n]+", "REASON": r".*"}
PROGRAMS = {
    "healthcheck": "healthcheck",
    "docker launcher": "docker/launcher",
    "docker builder": "docker/builder",
    "buildpack launcher": "launcher",
    "buildpack shell": "shell",
    "buildpack builder": "builder",
}
EARLY_MS, LATE_MS = 60, 30_000
"""How much sooner or later than recorded a program may end. A busy machine makes it late; late is a guard."""
END_S = 60
"""After which a program that should have ended is killed."""

RECORDED_BASH_PATH = "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin:."
"""What the recording's bash takes for ``PATH`` when it gets none; each build has its own."""
BASH = "/bin/bash"

_ports = iter(range(10000, 30000, 2))
_ports_lock = threading.Lock()


class Case:
    """One golden case in a folder of its own."""

    def __init__(self, case: dict[str, Any], setup: dict[str, Any], root: str) -> None:
        with _ports_lock:
            port = next(_ports)
        self.root = root
        self.program = f"{setup['bundle']}/{PROGRAMS[case['program']]}"
        values = {
            "ROOT": root,
            "IP": setup["ip"],
            "PORT": str(port),
            "PORT2": str(port + 1),
            "ARGV0": case.get("argv0", self.program),
            "CERTS": setup["certs"],
        }
        server = case.get("server") or {}
        if server.get("kind") == "registry":
            values["DIGEST"] = manifest_digest(server)
        self.values = values
        self.case = self._fill(case)
        if RECORDED_BASH_PATH in self.case["stdout"]:
            self.case["stdout"] = self.case["stdout"].replace(RECORDED_BASH_PATH, _bash_path())
        self.port = port
        self.certs = setup["certs"]
        self.ip = setup["ip"]
        self.mismatches: list[str] = []

    def _fill(self, value: Any) -> Any:
        if isinstance(value, str):
            for name, text in self.values.items():
                value = value.replace("{" + name + "}", text)
            return value
        if isinstance(value, list):
            return [self._fill(item) for item in value]
        if isinstance(value, dict):
            return {self._fill(key): self._fill(item) for key, item in value.items()}
        return value

    def run(self) -> list[str]:
        self._write_files()
        with start_server(self.case.get("server"), self.ip, self.port, self.certs) as server:
            begun = time.monotonic()
            server.begin()
            status, out, err = self._execute()
            elapsed = (time.monotonic() - begun) * 1000
            self._compare(status, out, err, elapsed, server)
        return self.mismatches

    def _write_files(self) -> None:
        for name, content in self.case["files"].items():
            path = Path(self.root, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, str):
                content = {"content": content}
            if content.get("type") == "dir":
                path.mkdir(exist_ok=True)
            elif content.get("type") == "symlink":
                path.symlink_to(content["target"])
            else:
                path.write_text(content["content"])
            if "mode" in content:
                path.chmod(int(content["mode"], 8))

    def _execute(self) -> tuple[Any, str, str]:
        case = self.case
        process = subprocess.Popen(
            [case.get("argv0", self.program), *case["args"]],
            executable=self.program,
            env=case["env"],
            cwd=self.root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        if "signal" in case:
            number = signal.Signals[f"SIG{case['signal']['name']}"]
            threading.Timer(case["signal"]["after_ms"] / 1000, process.send_signal, (number,)).start()
        limit = case["observed_for_ms"] / 1000 if case["exit"] == "running" else END_S
        try:
            out, err = process.communicate(case["stdin"].encode(), timeout=limit)
            code = process.returncode
            status = code if code >= 0 else f"signal {signal.Signals(-code).name[3:]}"
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            status = "running"
        return status, out.decode("utf-8", "replace"), err.decode("utf-8", "replace")

    def _compare(self, status: Any, out: str, err: str, elapsed: float, server: Server) -> None:
        case = self.case
        self._same("exit", case["exit"], status)
        if case.get("stdout_free_reasons"):
            self._same("stdout", _heads(case["stdout"]), _heads(out))
        elif "stdout_prefix" in case:
            self._matches("stdout", case["stdout_prefix"], out, prefix=True)
        else:
            self._matches("stdout", case["stdout"], out)
        if "stderr_contains" in case:
            at = 0
            for fragment in case["stderr_contains"]:
                found = err.find(fragment, at)
                if found < 0:
                    self.mismatches.append(f"stderr lacks {fragment!r}: {err!r}")
                    break
                at = found + len(fragment)
        elif case.get("stderr_prefix") is not None:
            self._matches("stderr", case["stderr_prefix"], err, prefix=True)
        else:
            self._matches("stderr", case["stderr"], err)
        if "elapsed_ms" in case and not -EARLY_MS <= elapsed - case["elapsed_ms"] * 0.9 <= LATE_MS:
            self.mismatches.append(f"took {elapsed:.0f} ms instead of {case['elapsed_ms']}")
        if "request_count" in case:
            self._same("number of requests", case["request_count"], len(server.requests))
        if "requests" in case:
            wanted = [_request(request["line"], request["headers"]) for request in case["requests"]]
            seen = [_request(line, headers) for line, headers in server.requests]
            self._same("requests", wanted, seen)
        if status == case["exit"]:  # files of a program that ended otherwise may be half written
            self._compare_results()

    def _compare_results(self) -> None:
        case = self.case
        builder = case["program"] == "buildpack builder"
        if "result_json" in case:
            folder = "out" if builder else "o"
            self._same("result.json", case["result_json"], _text(Path(self.root, folder, "result.json")))
        for member, name in (("droplet", "droplet"), ("cache_tgz", "cache.tgz")):
            if member in case:
                paths = [Path(self.root, folder, name) for folder in ("out", "out2")]
                path = next((path for path in paths if path.exists()), None)
                self._same(member, case[member], path and _members(path))
        if case.get("staging_info_yml") is not None:
            with tarfile.open(Path(self.root, "out", "droplet")) as tar:
                content = tar.extractfile("./staging_info.yml")
                assert content is not None
                self._same("staging_info.yml", case["staging_info_yml"], content.read().decode())
        if "left_in_tmpdir" in case:
            temporary = Path(case["env"].get("TMPDIR", "/tmp"))
            left = sorted(path.name for path in temporary.iterdir()) if temporary.is_dir() else []
            self._same("left in TMPDIR", case["left_in_tmpdir"], left)

    def _same(self, what: str, wanted: Any, got: Any) -> None:
        if wanted != got:
            self.mismatches.append(f"{what}: wanted {wanted!r}, got {got!r}")

    def _matches(self, what: str, wanted: str, got: str, prefix: bool = False) -> None:
        pattern = re.escape(wanted)
        for name, free in FREE.items():
            pattern = pattern.replace(re.escape("{" + name + "}"), free)
        if not re.compile(pattern + (".*" if prefix else ""), re.DOTALL).fullmatch(got):
            self.mismatches.append(f"{what}: wanted {wanted!r}, got {got!r}")


def _bash_path() -> str:
    """The ``PATH`` of the image's bash when it gets none."""
    command = [BASH, "-c", 'printf %s "$PATH"']
    return subprocess.run(command, env={}, check=True, stdout=subprocess.PIPE, text=True).stdout


def _heads(text: str) -> list[str]:
    return [line.partition("references: ")[0] for line in text.splitlines()]


def _request(line: str, headers: Any) -> tuple[str, list[list[str]]]:
    return line, sorted([name.lower(), value] for name, value in headers)


def _text(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


def _members(path: Path) -> list[list[str]]:
    kinds = {tarfile.DIRTYPE: "d", tarfile.REGTYPE: "f", tarfile.SYMTYPE: "l", tarfile.LNKTYPE: "h"}
    found = []
    with tarfile.open(path) as tar:
        for member in tar:
            name = member.name + "/" if member.isdir() else member.name
            entry = [name, kinds[member.type], f"{member.mode:04o}"]
            found.append([*entry, member.linkname] if member.issym() else entry)
    return sorted(found)


def main() -> None:
    os.umask(0o022)
    setup = json.load(sys.stdin)
    base = tempfile.mkdtemp(prefix="cases")

    def run(numbered: tuple[int, dict[str, Any]]) -> dict[str, Any]:
        number, case = numbered
        root = f"{base}/{number}"
        Path(root).mkdir()
        mismatches = Case(case, setup, root).run()
        shutil.rmtree(root, ignore_errors=True)
        return {"name": case["name"], "mismatches": mismatches}

    with ThreadPoolExecutor(setup["workers"]) as pool:
        results = list(pool.map(run, enumerate(setup["cases"])))
    for number, result in enumerate(results):
        if result["mismatches"]:  # many cases count on a second being enough: again, without company
            results[number] = run((len(results) + number, setup["cases"][number]))
    json.dump(results, sys.stdout)
    sys.stdout.flush()
    os._exit(0)  # listeners of cases that ended early may still wait


if __name__ == "__main__":
    main()
