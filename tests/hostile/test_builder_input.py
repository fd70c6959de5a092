"""Malicious apps and buildpacks: the real builder, without privileges as in a container."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lifecycle.buildpack.xxh64 import xxh64

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
UNPRIVILEGED = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
"""Without them, root could remove anything."""
MAIN = "import sys; from lifecycle.buildpack.builder import main; sys.exit(main(sys.argv))"
BUILD_FAILED, COMPILE_FAILED = 1, 223


@dataclass(frozen=True)
class Built:
    """How a run of the builder ended. left: names in its folder for temporary files."""

    status: int
    err: str
    result: dict[str, object] | None
    droplet: list[str]
    left: list[str]


class Builder:
    """An app and one buildpack that takes every app."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.app = folder / "app"
        self._scripts = folder / "buildpacks" / xxh64(b"one") / "bin"
        for path in (self.app, folder / "tmp", self._scripts):
            path.mkdir(parents=True)
        self.script("detect", "")
        self.script("compile", "")
        self.script("release", "")

    def script(self, name: str, text: str) -> None:
        """Give the buildpack a script."""
        path = self._scripts / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def build(self) -> Built:
        done = subprocess.run(
            [*UNPRIVILEGED, sys.executable, "-c", MAIN, *self._flags()],
            env={"PATH": os.environ["PATH"], "TMPDIR": str(self.folder / "tmp"), "PYTHONPATH": str(ROOT)},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        result, droplet = self.folder / "out/result.json", self.folder / "out/droplet"
        return Built(
            done.returncode,
            done.stderr,
            json.loads(result.read_text()) if result.exists() else None,
            tarfile.open(droplet).getnames() if droplet.exists() else [],
            sorted(path.name for path in (self.folder / "tmp").iterdir()),
        )

    def _flags(self) -> list[str]:
        places = {
            "buildDir": "app",
            "outputDroplet": "out/droplet",
            "outputMetadata": "out/result.json",
            "outputBuildArtifactsCache": "out/cache.tgz",
            "buildpacksDir": "buildpacks",
            "buildpacksDownloadDir": "downloads",
            "buildArtifactsCacheDir": "cache",
        }
        flags = [f"-{name}={self.folder / place}" for name, place in places.items()]
        return [*flags, "-buildpackOrder=one"]


@pytest.fixture
def builder() -> Iterator[Builder]:
    with tempfile.TemporaryDirectory(prefix="builder-") as folder:
        yield Builder(Path(folder))


def test_tabs_in_a_procfile_and_in_release_output(builder: Builder) -> None:
    """A Procfile with a tab behind the colon, at a line's end and before a comment stages."""
    builder.script("release", r"printf 'default_process_types:\t# all\n  web:\t./released\t\n'")
    (builder.app / "Procfile").write_text("worker:\t./work\t# in the background\nclock: ./tick\t\n")
    built = builder.build()
    assert (built.status, built.result and built.result["process_types"]) == (
        0,
        {"clock": "./tick", "web": "./released", "worker": "./work"},
    )


@pytest.mark.parametrize(
    "content",
    [
        b"web: ./run\n\tworker: x\n",
        b"[" * 1_000_000,
        b"web: &a [" + b"*a, " * 1000 + b"]\n",
        b"\xff\xfe\x00\xd8web: x",
        b"web: \x01",
        b"- web\n",
    ],
    ids=["tab that indents", "nested", "alias of itself", "lone surrogate", "control", "list"],
)
def test_procfiles_that_are_none(builder: Builder, content: bytes) -> None:
    """An unreadable Procfile fails the build in one line, without a traceback and without leftovers."""
    (builder.app / "Procfile").write_bytes(content)
    built = builder.build()
    assert (built.status, built.left) == (BUILD_FAILED, [])
    assert built.err.splitlines()[-1] == "Failed to read command from Procfile: invalid YAML"
    assert "Traceback" not in built.err


def test_a_directory_nobody_may_enter_leaves_nothing_behind(builder: Builder) -> None:
    """A directory of mode 000 that a buildpack leaves does not keep the builder's work directory."""
    builder.script(
        "compile",
        "cd $TMPDIR/contents*/deps\nmkdir -p 0/a/b/c 1\ntouch 0/a/b/c/file\n"
        "chmod 000 0/a/b/c 0/a/b\nchmod 500 0/a\nchmod 000 1\nexit 1",
    )
    built = builder.build()
    assert (built.status, built.left) == (COMPILE_FAILED, [])


def test_a_tree_of_thousands_of_levels_leaves_nothing_behind(builder: Builder) -> None:
    """Removing what a buildpack left costs neither stack nor path length."""
    deep = "import os\nfor _ in range(3000):\n    os.mkdir('d')\n    os.chdir('d')"
    builder.script("compile", f'cd $TMPDIR/contents*\n{sys.executable} -c "{deep}"\nexit 1')
    built = builder.build()
    assert (built.status, built.left) == (COMPILE_FAILED, [])
    assert "Traceback" not in built.err


def test_links_pipes_and_sockets_stage(builder: Builder) -> None:
    """Links of all kinds and named pipes are part of the droplet, as a cell unpacks them; a socket is not."""
    import socket

    (builder.app / "dangling").symlink_to("/nowhere")
    (builder.app / "up").symlink_to("..")
    (builder.app / "loop").symlink_to("loop")
    os.mkfifo(builder.app / "queue")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(builder.app / "socket"))
    built = builder.build()
    assert built.status == 0
    assert {"./app/dangling", "./app/up", "./app/loop", "./app/queue"} <= set(built.droplet)
    assert "./app/socket" not in built.droplet
