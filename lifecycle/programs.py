"""Table of the in-container programs, by lifecycle and file name.

The bundle's build reads it to create the names and to collect the modules; ``lifecycle.entry`` reads it to
start a program. Each module has ``main(argv) -> int``; ``argv[0]`` is the name that the caller used.
"""

from __future__ import annotations

BUILDPACK = "buildpack"
DOCKER = "docker"

PROGRAMS = {
    (BUILDPACK, "healthcheck"): "healthcheck.program",
    (BUILDPACK, "launcher"): "lifecycle.buildpack.launcher",
    (BUILDPACK, "shell"): "lifecycle.buildpack.shell",
    (BUILDPACK, "builder"): "lifecycle.buildpack.builder",
    (DOCKER, "healthcheck"): "healthcheck.program",
    (BUILDPACK, "diego-sshd"): "sshd.program",
    (DOCKER, "diego-sshd"): "sshd.program",
    (DOCKER, "launcher"): "lifecycle.docker.launcher",
    (DOCKER, "builder"): "lifecycle.docker.builder",
}
"""(lifecycle, file name) -> module."""
