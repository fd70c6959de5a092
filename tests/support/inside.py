"""The containers of a cell, as the engine and the host see them."""

from __future__ import annotations

from docker import APIClient
from docker.errors import APIError

from executor.engine.createrequest import LABEL_CELL, LABEL_GUID, LABEL_OWNER


class Inside:
    """The containers of a cell, as the engine and the host see them."""

    def __init__(self, client: APIClient, cell_id: str) -> None:
        self._client = client
        self._filter = {"label": [f"{LABEL_CELL}={cell_id}", f"{LABEL_OWNER}=executor"]}

    def ids(self) -> dict[str, str]:
        """Engine ids by guid."""
        found = self._client.containers(all=True, filters=self._filter)
        return {each["Labels"][LABEL_GUID]: each["Id"] for each in found}

    def run(self, guid: str, *command: str) -> str:
        made = self._client.exec_create(self.ids()[guid], list(command))["Id"]
        return str(self._client.exec_start(made).decode())

    def pids(self) -> dict[str, set[str]]:
        """Host pids of the lasting programs and of their parents, by guid."""
        tops = {guid: self._top(found) for guid, found in self.ids().items()}
        lasting = ("httpd", "tail", "/tmp/end")
        return {
            guid: {line[1] for line in lines if any(name in line[-1] for name in lasting)}
            for guid, lines in tops.items()
        }

    def _top(self, engine_id: str) -> list[list[str]]:
        """None of a container that is being created or removed."""
        try:
            lines: list[list[str]] = self._client.top(engine_id)["Processes"]
        except APIError:
            return []
        return lines
