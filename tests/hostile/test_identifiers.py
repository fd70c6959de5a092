"""Invalid guids from peers: none becomes a path, a container or a reservation."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bbs.models.auction import LRP, Demand, Task, Work
from bbs.models.common import File
from bbs.models.guid import Guid, InvalidGuid, is_guid
from executor.containers import servicefiles
from executor.containers.eventbus import EventBus
from executor.containers.record import Records
from executor.containers.store import ContainerStore
from executor.engine.docker import DockerEngine, EngineConfig
from executor.errors import ContainerGuidInvalid, ExecutorError, LimitsInvalid
from executor.identity.files import CERTIFICATE, KEY, CredentialFiles
from executor.model import AllocationRequest, Resources
from rep.auction import admit
from rep.config import RepConfig
from rep.deletions import Deletions
from rep.evacuation import EvacuationFlag
from rep.metrics import RequestMetrics
from rep.removals import Removals
from rep.rootfs import StackMap
from rep.server import NetworkRoutes, listening
from rep.state import CellIdentity
from tests.support.journals import FailingJournal
from tests.support.outcomes import idle_courier

pytestmark = pytest.mark.unit

NO_GUIDS = [
    "",
    ".",
    "..",
    "/etc",
    "../../etc",
    "a/b",
    "a\0b",
    "a\n",
    "guid ",
    "gu.id",
    "gu%2fid",
    "é",
    "\u0661",  # a digit, and no ASCII one
    "\ud800",
    "a" * 256,
]
GUIDS = ["a", "-", "_", "0", "-x", "A_b-9", "a" * 255, "11111111-2222-3333-4444-5555"]


@pytest.mark.parametrize("text", GUIDS)
def test_what_a_bbs_takes_is_a_guid(text: str) -> None:
    assert Guid(text) == text
    assert Guid(text).below("/x") == Path("/x", text)


@pytest.mark.parametrize("text", NO_GUIDS)
def test_anything_else_is_none(text: str) -> None:
    assert not is_guid(text)
    with pytest.raises(InvalidGuid, match="is not a guid") as raised:
        Guid(text)
    assert len(str(raised.value)) < 500


@given(st.text())
def test_the_path_of_a_guid_stays_directly_below_its_parent(text: str) -> None:
    if is_guid(text):
        path = Guid(text).below("/parent")
        assert path.parent == Path("/parent")
        assert path.name == text


def lrp(**values: Any) -> LRP:
    return LRP(**{"process_guid": "web", "domain": "apps", "demand": Demand(root_fs="docker:///x"), **values})


def task(guid: str, **demand: int) -> Task:
    return Task(task_guid=guid, domain="d", demand=Demand(root_fs="docker:///x", **demand))


def admitted(work: Work) -> tuple[list[str], Work]:
    """Names of what is taken, and what goes back."""
    admission = admit(
        work,
        cell_id="cell-1",
        evacuating=False,
        remaining_memory_mb=100,
        proxy_allocation_mb=0,
        stacks=StackMap({}),
    )
    taken = [
        offer.work.process_guid if isinstance(offer.work, LRP) else offer.work.task_guid
        for offer in admission.offers
    ]
    assert len(admission.objections) == len(admission.refused.lrps) + len(admission.refused.tasks)
    return taken, admission.refused


@pytest.mark.parametrize("guid", NO_GUIDS)
def test_a_task_with_a_path_as_guid_goes_back_and_the_others_of_the_batch_go_on(guid: str) -> None:
    taken, refused = admitted(Work(lrps=(lrp(process_guid=guid), lrp()), tasks=(task(guid), task("good"))))
    assert taken == ["web", "good"]
    assert refused == Work(lrps=(lrp(process_guid=guid),), tasks=(task(guid),))


@pytest.mark.parametrize("key", ["memory_mb", "disk_mb", "max_pids"])
def test_negative_sizes_add_no_room_to_the_cell(key: str) -> None:
    """A negative size made room for work that does not fit."""
    greedy = lrp(demand=Demand(root_fs="docker:///x", **{key: -1000}))
    large = lrp(process_guid="large", demand=Demand(root_fs="docker:///x", memory_mb=101))
    taken, refused = admitted(Work(lrps=(greedy, large), tasks=(task("t", **{key: -1}),)))
    assert taken == []
    assert set(refused.lrps) == {greedy, large}
    assert refused.tasks == (task("t", **{key: -1}),)


@pytest.mark.parametrize("bad", [{"index": -1}, {"domain": ""}])
def test_an_lrp_nobody_can_report_is_not_reserved(bad: dict[str, Any]) -> None:
    """A reservation without a valid key held its resources for ever: no call can be made about it."""
    assert admitted(Work(lrps=(lrp(**bad),))) == ([], Work(lrps=(lrp(**bad),)))


@pytest.fixture
def store() -> ContainerStore:
    store = ContainerStore(EventBus().publish, lambda: 0, Records(FailingJournal()))
    store.total = Resources(memory_mb=100, disk_mb=100, containers=9)
    return store


@pytest.mark.parametrize("guid", [text for text in NO_GUIDS if text])
def test_the_executor_reserves_no_container_under_a_bad_guid(store: ContainerStore, guid: str) -> None:
    with pytest.raises(ContainerGuidInvalid):
        store.reserve(AllocationRequest(guid=guid))
    assert store.list() == []


@pytest.mark.parametrize("key", ["memory_mb", "disk_mb", "max_pids"])
def test_the_executor_reserves_no_negative_sizes(store: ContainerStore, key: str) -> None:
    with pytest.raises(LimitsInvalid):
        store.reserve(AllocationRequest(guid="g", **{key: -1}))
    assert store.remaining() == store.total


class Listener:
    """A cell's network listener over an executor that must never be asked."""

    def __init__(self, base: str, session: aiohttp.ClientSession, work: list[AllocationRequest]) -> None:
        self.base, self.session, self.allocated = base, session, work

    async def ask(self, method: str, path: str, body: bytes = b"{}") -> tuple[int, bytes]:
        async with self.session.request(method, self.base + path, data=body) as answer:
            return answer.status, await answer.read()


class RefusingExecutor:
    """Takes reservations; any call about a container is a failure of the test."""

    healthy = True

    def __init__(self) -> None:
        self.allocated: list[AllocationRequest] = []

    def allocate(self, requests: list[AllocationRequest], *, trace_id: str = "") -> list[Any]:
        self.allocated.extend(requests)
        return []

    def remaining_resources(self) -> Resources:
        return Resources(memory_mb=100, disk_mb=100, containers=9)

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the executor was asked for {name}")


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    executor: Any = RefusingExecutor()
    identity = CellIdentity(config=RepConfig(cell_id="cell-1"), rep_url="", stacks=StackMap({}))
    deletions = Deletions(executor, Removals())
    routes = NetworkRoutes(
        identity, executor, EvacuationFlag(), deletions, RequestMetrics(), idle_courier().ledger
    )
    async with (
        deletions.open(),
        listening(routes.application(), "127.0.0.1:0", None) as address,
        aiohttp.ClientSession(skip_auto_headers=["Content-Type"]) as session,
    ):
        yield Listener(f"http://127.0.0.1:{address.port}", session, executor.allocated)


@pytest.mark.parametrize("guid", ["%2Fetc", "..%2F..%2Fetc", "a%00b", "a%0A", "%FF", "a" * 300, "a%20b"])
async def test_a_bad_guid_in_a_path_is_a_container_nobody_has(listener: Listener, guid: str) -> None:
    assert await listener.ask("POST", f"/v1/lrps/web/instances/{guid}/stop") == (500, b"")
    assert await listener.ask("POST", f"/v1/lrps/{guid}/instances/ig/stop") == (500, b"")
    assert await listener.ask("PUT", f"/v2/lrps/web/instances/{guid}") == (500, b"")
    assert await listener.ask("POST", f"/v1/tasks/{guid}/cancel") == (202, b"")


async def test_bad_work_is_answered_as_failed_work_and_logged(
    listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    bad = {"TaskGuid": "/etc", "Domain": "d", "RootFs": "docker:///x"}
    good = {**bad, "TaskGuid": "good"}
    status, body = await listener.ask("POST", "/work", json.dumps({"Tasks": [bad, good]}).encode())
    assert status == 200
    assert [item["TaskGuid"] for item in json.loads(body)["Tasks"]] == ["/etc"]
    assert [request.guid for request in listener.allocated] == ["good"]
    (record,) = (record for record in caplog.records if record.message == "auction.refused-work")
    assert vars(record)["data"]["work"] == "/etc"


@pytest.mark.parametrize("guid", ["/etc", "..", "../victim", "a/b"])
async def test_no_room_of_the_executor_makes_a_path_of_it(tmp_path: Path, guid: str) -> None:
    """'/etc' as the guid of a task ended in the removal of the host's /etc."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").write_text("precious")
    guid = str(victim) if guid == "/etc" else guid
    parent = tmp_path / "rooms"
    parent.mkdir()
    engine = DockerEngine(EngineConfig(state_dir=parent, owner="o", cell_id="c", docker_host="unix:///none"))
    try:
        with pytest.raises((ExecutorError, InvalidGuid)):
            await engine.destroy(guid)
    finally:
        await engine.close()
    for attempt in (
        lambda: CredentialFiles(str(parent)).prepare(guid),
        lambda: CredentialFiles(str(parent)).remove(guid),
        lambda: CredentialFiles(str(parent)).replace(guid, certificate=b"", key=b""),
        lambda: servicefiles.write(str(parent), guid, [File(path="x", content="y")]),
        lambda: servicefiles.remove(str(parent), guid),
    ):
        with pytest.raises(InvalidGuid):
            attempt()
    assert (victim / "file").read_text() == "precious"


def test_foreign_entries_in_the_directory_of_credentials_stay(tmp_path: Path) -> None:
    """A plain file there kept the cell from starting, and folders of others were removed."""
    parent = tmp_path / "creds"
    files = CredentialFiles(str(parent))
    for guid in ("dead", "half", "alive"):
        files.prepare(guid)
    for guid in ("dead", "alive"):
        files.replace(guid, certificate=b"c", key=b"k")
    (parent / "README").write_text("by the operator")
    (parent / "backup").mkdir()
    (parent / "backup" / "ca.key").write_text("k")
    (parent / "no guid").mkdir()
    (parent / "link").symlink_to(tmp_path)
    assert files.retain({"alive"}) == ["dead", "half"]
    assert {path.name for path in parent.iterdir()} == {"alive", "README", "backup", "no guid", "link"}
    assert (parent / "alive" / CERTIFICATE).read_bytes() == b"c"


def test_removing_credentials_spares_files_of_others(tmp_path: Path) -> None:
    files = CredentialFiles(str(tmp_path))
    files.prepare("ig")
    files.replace("ig", certificate=b"c", key=b"k")
    (tmp_path / "ig" / "notes").write_text("n")
    with pytest.raises(OSError, match="not empty"):
        files.remove("ig")
    assert [path.name for path in (tmp_path / "ig").iterdir()] == ["notes"]
    assert KEY not in {path.name for path in (tmp_path / "ig").iterdir()}
