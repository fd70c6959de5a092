"""Linux capabilities: the kernel's, an unprivileged container's, and the host's bounding set."""

from __future__ import annotations

from pathlib import Path

CAPABILITIES = (
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
)
"""The kernel's capabilities by number, without the three latest, which some engines do not know."""

UNPRIVILEGED = (
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
)
"""Maximum for a container, independent of an engine's default."""


def bounding_set(mask: int) -> tuple[str, ...]:
    """Names of the capabilities in a kernel mask, such as ``CapBnd`` in ``/proc/self/status``."""
    return tuple(name for number, name in enumerate(CAPABILITIES) if mask >> number & 1)


def host_bounding_set() -> tuple[str, ...]:
    """The bounding set of the first process: the engine cannot grant other capabilities.

    That of the agent itself may be smaller, because a service manager restricts it.
    """
    for line in Path("/proc/1/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("CapBnd:"):
            return bounding_set(int(line.split()[1], 16))
    return ()
