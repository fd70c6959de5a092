"""The in-container programs by the lifecycle and the name they are found under.

The bundle's build reads this table for the names to make and the modules to bring along;
``lifecycle.entry`` reads it to start one. Each module has ``main(argv) -> int``, ``argv[0]`` being whatever
name the caller gave.
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
