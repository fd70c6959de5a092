"""Open handles of containers: the ``/proc`` directory of the init process, bound to that process."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from executor import cgroup
from executor.engine.api import EngineContainer
from executor.engine.proc import is_ending
from executor.errors import ContainerGone

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Handle:
    proc_fd: int
    oom_counter: Path | None
    killed_for_memory: bool = False


class Handles:
    """The handles of all containers, opened when they are needed."""

    def __init__(self) -> None:
        self._handles: dict[str, _Handle] = {}
        self._hierarchies = cgroup.own_mounts()

    def proc_fd(self, container: EngineContainer) -> int:
        """Descriptor of the directory. Raises ContainerGone if the init process is gone."""
        return self._of(container).proc_fd

    def forget(self, guid: str) -> None:
        """Close the handle of a container, if it is open."""
        handle = self._handles.pop(guid, None)
        if handle is not None:
            os.close(handle.proc_fd)

    def close(self) -> None:
        """Close all handles."""
        for guid in list(self._handles):
            self.forget(guid)

    def out_of_memory(self, container: EngineContainer) -> bool:
        """Whether any process of the container has been killed for memory. Raises ContainerGone."""
        handle = self._of(container)
        if not handle.killed_for_memory and handle.oom_counter is not None:
            try:
                handle.killed_for_memory = cgroup.oom_kills(handle.oom_counter.read_text()) > 0
            except OSError as error:
                data = {"guid": container.guid, "error": str(error)}
                logger.info("oom-counter-unreadable", extra={"data": data})
        return handle.killed_for_memory

    def has_ended(self, container: EngineContainer) -> bool:
        """Whether the init process has ended."""
        try:
            return is_ending(self._of(container).proc_fd)
        except ContainerGone:
            return True

    def _of(self, container: EngineContainer) -> _Handle:
        handle = self._handles.get(container.guid)
        if handle is None:
            handle = self._handles[container.guid] = self._opened(container)
        return handle

    def _opened(self, container: EngineContainer) -> _Handle:
        try:
            proc_fd, membership = cgroup.open_process(container.init_pid, container.id)
        except OSError as error:
            raise ContainerGone(f"container {container.guid}: its init process is gone") from error
        groups = cgroup.group_paths(membership)
        return _Handle(proc_fd, cgroup.oom_counter(groups, self._hierarchies))
