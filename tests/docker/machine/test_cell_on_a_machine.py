"""The packages on a machine with systemd: install, restart, reload, watchdog, upgrade, drain, purge."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import asyncssh
import pytest

from tests.docker.machine.conftest import (
    ADMIN_PORT,
    APP_SECRET,
    SERVICE,
    CellMachine,
    requests,
    started,
)
from tests.support.machines import Failed
from tests.support.thorough import THOROUGH
from tests.support.waiting import until

pytestmark = [
    pytest.mark.docker,
    pytest.mark.alone,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not THOROUGH, reason="builds packages and boots a machine: in `make test-all`"),
]

EXPOSURE = {"diego-cell": 48, "diego-ssh-proxy": 11}
"""Greatest exposure that `systemd-analyze security` may find, in tenths; SPECIFICATION.md has the figures."""


async def test_an_installation_starts_nothing_and_says_what_is_missing(installed: CellMachine) -> None:
    machine = installed.machine
    assert machine.property(SERVICE, "UnitFileState") == "disabled"
    assert machine.property(SERVICE, "ActiveState") == "inactive"
    modes = machine.run("stat", "-c", "%a %U %n", "/etc/diego-cell/rep.json", "/var/lib/diego-cell")
    assert modes.splitlines() == ["640 root /etc/diego-cell/rep.json", "700 root /var/lib/diego-cell"]
    assert "diego-ssh-proxy:x:" in machine.read("/etc/passwd")

    assert machine.status("systemctl", "start", SERVICE)[0] == 1
    assert "problem: cell_id is missing or empty" in machine.journal(SERVICE)
    await until(lambda: "waiting 1 s" in machine.journal(SERVICE), "a later attempt")
    machine.run("systemctl", "stop", SERVICE)
    assert machine.property(SERVICE, "ActiveState") in ("inactive", "failed")
    assert machine.property(SERVICE, "MainPID") == "0"


async def test_a_start_is_over_when_the_cell_is_registered(installed: CellMachine) -> None:
    await started(installed)
    machine = installed.machine
    cells = installed.cell("cells", "--json")
    assert '"cell-1"' in cells
    await installed.running()
    await until(
        lambda: machine.property(SERVICE, "StatusText") == "cell-1: 2 containers, 2 running", "the status"
    )


@pytest.mark.parametrize("unit", EXPOSURE)
async def test_the_exposure_of_a_unit_is_bounded(installed: CellMachine, unit: str) -> None:
    limit = f"--threshold={EXPOSURE[unit]}"
    status, out, err = installed.machine.status("systemd-analyze", "security", "--no-pager", limit, unit)
    assert status == 0, out.splitlines()[-1] + err


@pytest.mark.parametrize("how", ["restart", "stop and start", "kill -9"])
async def test_another_process_of_the_rep_costs_the_app_nothing(cell: CellMachine, how: str) -> None:
    machine = cell.machine
    rep, pids, guids = cell.rep_pid(), cell.app_pids(), cell.guids()
    assert len(pids) == 2
    async with requests(cell.addresses()) as answers:
        match how:
            case "restart":
                machine.run("systemctl", "restart", SERVICE)
            case "stop and start":
                machine.run("systemctl", "stop", SERVICE)
                assert cell.app_pids() == pids
                machine.run("systemctl", "start", SERVICE)
            case _:
                machine.run("kill", "-9", str(rep))
        await cell.restarted(rep)
    assert answers.failed == []
    assert cell.app_pids() == pids
    await cell.running()
    assert cell.guids() == guids


async def test_a_caller_of_the_rep_waits_for_its_next_process(cell: CellMachine) -> None:
    """A script on the machine asks all the time, over new connections."""
    machine = cell.machine
    rep = cell.rep_pid()
    certs = "--cacert /etc/diego-cell/certs/ca.crt --cert /etc/diego-cell/certs/rep.crt"
    ping = f"curl -sS -o /dev/null {certs} --key /etc/diego-cell/certs/rep.key https://127.0.0.1:{ADMIN_PORT}/ping"
    machine.shell(
        f"(while :; do {ping} && echo ok || echo failed; done) >/run/pings 2>&1 & echo $! >/run/pinger"
    )
    try:
        await until(lambda: "ok" in machine.read("/run/pings"))
        machine.run("systemctl", "restart", SERVICE)
        await cell.restarted(rep)
        seen = machine.read("/run/pings").count("ok")
        await until(lambda: machine.read("/run/pings").count("ok") > seen + 2)
    finally:
        machine.shell("kill $(cat /run/pinger)")
    assert set(machine.read("/run/pings").split("\n")) - {""} == {"ok"}


async def test_a_reload_checks_the_file_first(cell: CellMachine) -> None:
    machine, rep = cell.machine, cell.rep_pid()
    cell.configure(log_level="loud")
    with pytest.raises(Failed):
        machine.run("systemctl", "reload", SERVICE)
    assert 'key "log_level"' in machine.journal(SERVICE)
    assert machine.property(SERVICE, "ActiveState") == "active"
    cell.configure(log_level="debug")
    machine.run("systemctl", "reload", SERVICE)
    await until(lambda: '"in-use":["log_level"]' in machine.journal(SERVICE), "the reload")
    await until(lambda: machine.property(SERVICE, "SubState") == "running")
    assert cell.rep_pid() == rep
    cell.configure()
    machine.run("systemctl", "reload", SERVICE)


async def test_a_rep_that_hangs_is_replaced_and_the_log_says_where_it_hung(cell: CellMachine) -> None:
    machine = cell.machine
    machine.run("mkdir", "-p", "/run/systemd/system/diego-cell.service.d")
    machine.write("/run/systemd/system/diego-cell.service.d/quick.conf", "[Service]\nWatchdogSec=4s\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", SERVICE)
    rep, pids = cell.rep_pid(), cell.app_pids()
    try:
        machine.run("kill", "-STOP", str(rep))
        await cell.restarted(rep)
        assert cell.app_pids() == pids
        assert "Watchdog timeout" in machine.journal(SERVICE)
        assert "most recent call first" in machine.journal(SERVICE), "where each thread was"
    finally:
        machine.run("rm", "-r", "/run/systemd/system/diego-cell.service.d")
        machine.run("systemctl", "daemon-reload")
        machine.run("systemctl", "restart", SERVICE)


async def test_credentials_of_systemd_replace_a_key_file(cell: CellMachine) -> None:
    machine, pids = cell.machine, cell.app_pids()
    folder = "/run/systemd/system/diego-cell.service.d"
    machine.run("mkdir", "-p", folder, "/run/secret")
    machine.run("mv", "/etc/diego-cell/certs/rep.key", "/run/secret/rep.key")
    machine.write(f"{folder}/credentials.conf", "[Service]\nLoadCredential=rep.key:/run/secret/rep.key\n")
    machine.run("systemctl", "daemon-reload")
    try:
        cell.configure(key_file="/run/credentials/diego-cell.service/rep.key")
        machine.run("systemctl", "restart", SERVICE)
        assert cell.app_pids() == pids
    finally:
        machine.run("mv", "/run/secret/rep.key", "/etc/diego-cell/certs/rep.key")
        machine.run("rm", "-r", folder, "/run/secret")
        machine.run("systemctl", "daemon-reload")
        cell.configure()
        machine.run("systemctl", "restart", SERVICE)


async def test_the_ssh_proxy_runs_as_a_user_without_rights(installed: CellMachine) -> None:
    machine = installed.machine
    key = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    certs = "/etc/diego-ssh-proxy/certs"
    machine.run("install", "-d", "-o", "diego-ssh-proxy", "-m", "0700", certs)
    for name in ("ca.crt", "client.crt", "client.key"):
        machine.run(
            "install", "-o", "diego-ssh-proxy", "-m", "0400", f"/var/lib/plane/tls/{name}", f"{certs}/{name}"
        )
    settings = {
        "address": "127.0.0.1:2222",
        "health_check_address": "127.0.0.1:2223",
        "host_key": key,
        "bbs_address": "https://127.0.0.1:8889",
        "bbs_ca_cert": f"{certs}/ca.crt",
        "bbs_client_cert": f"{certs}/client.crt",
        "bbs_client_key": f"{certs}/client.key",
        "enable_diego_auth": True,
        "diego_credentials": "some-password",
        "log_level": "info",
    }
    machine.write("/etc/diego-ssh-proxy/ssh_proxy.json", json.dumps(settings), "0600")
    machine.run("systemctl", "start", "diego-ssh-proxy")
    try:
        pid = machine.property("diego-ssh-proxy", "MainPID")
        status = dict(line.split(":", 1) for line in machine.read(f"/proc/{pid}/status").splitlines())
        assert int(status["CapBnd"], 16) == int(status["CapEff"], 16) == 0
        assert status["NoNewPrivs"].strip() == "1"
        assert machine.run("stat", "-c", "%U", f"/proc/{pid}").strip() == "diego-ssh-proxy"
        greeting = "import socket; print(socket.create_connection(('127.0.0.1', 2222)).recv(100))"
        assert "SSH-2.0-" in machine.run("python3", "-c", greeting)
        assert machine.property("diego-ssh-proxy", "StatusText") == "serving on 127.0.0.1:2222"
    finally:
        machine.run("systemctl", "stop", "diego-ssh-proxy")


def next_version(packages: list[Path], folder: Path) -> list[Path]:
    """The packages as version 0.1.1, whose journal has one table more."""
    built = []
    for package in packages:
        tree = folder / package.name
        subprocess.run(["dpkg-deb", "--raw-extract", package, tree], check=True)
        control = tree / "DEBIAN" / "control"
        control.write_text(control.read_text().replace("0.1.0", "0.1.1"))
        for schema in tree.glob("usr/lib/diego-cell/lib/python3*/site-packages/executor/journal/schema.py"):
            text, end = schema.read_text(), ')\n"""The statements from each schema version'
            assert text.count(end) == 1
            schema.write_text(text.replace(end, f'    ("CREATE TABLE added (name TEXT)",),\n{end}'))
            for compiled in schema.parent.glob("__pycache__/schema.*.pyc"):
                compiled.unlink()  # it does not notice a change of its source
        target = folder / package.name.replace("0.1.0", "0.1.1")
        subprocess.run(
            ["dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, target],
            check=True,
            capture_output=True,
        )
        shutil.rmtree(tree)
        built.append(target)
    return built


async def test_an_upgrade_migrates_the_journal_and_costs_the_app_nothing(
    cell: CellMachine, tmp_path: Path
) -> None:
    machine = cell.machine
    newer = next_version(cell.packages, tmp_path)
    rep, pids, guids = cell.rep_pid(), cell.app_pids(), cell.guids()
    async with requests(cell.addresses()) as answers:
        cell.install(newer)
        await cell.restarted(rep)
    assert answers.failed == []
    assert cell.app_pids() == pids
    await cell.running()
    assert cell.guids() == guids
    assert json.loads(machine.run("cell", "version", "--json"))["journal"] == "2"

    # The older version does not read the newer journal, says so once, and leaves the app running.
    assert "does not start again" in cell.install()
    await until(lambda: machine.property(SERVICE, "ActiveState") == "failed", "the older version's refusal")
    assert machine.property(SERVICE, "ExecMainStatus") == "2"
    assert "newer" in machine.journal(SERVICE)
    assert cell.app_pids() == pids

    cell.install(newer)
    machine.run("systemctl", "start", SERVICE)
    assert cell.app_pids() == pids
    await cell.running()


async def test_a_stop_that_evacuates_may_take_longer_than_the_limit_of_a_stop(cell: CellMachine) -> None:
    machine = cell.machine
    folder = "/run/systemd/system/diego-cell.service.d"
    machine.run("mkdir", "-p", folder)
    machine.write(f"{folder}/limit.conf", "[Service]\nTimeoutStopSec=3s\n")
    machine.run("systemctl", "daemon-reload")
    try:
        cell.configure(on_stop="evacuate")
        machine.run("systemctl", "restart", SERVICE)
        machine.run("systemctl", "stop", SERVICE)
        assert machine.property(SERVICE, "Result") == "success"
        assert "evacuation-incomplete" in machine.journal(SERVICE), "it took its time"
        assert cell.app_pids() == set()
    finally:
        machine.run("rm", "-r", folder)
        machine.run("systemctl", "daemon-reload")
    await started(cell)
    await cell.running()


async def test_a_support_bundle_has_no_secret_of_app_or_cell(cell: CellMachine) -> None:
    machine = cell.machine
    cell.configure(log_sinks=["stdout", "syslog+tcp://user:geheim-of-the-cell@127.0.0.1:601"])
    machine.run("systemctl", "reload", SERVICE)
    await until(lambda: APP_SECRET in machine.journal(SERVICE), "lines of the app in the service's log")
    machine.run("cell", "support-bundle", "--output", "/root/bundle.tar.gz")
    texts = machine.shell("tar -xzOf /root/bundle.tar.gz; rm /root/bundle.tar.gz")
    assert "geheim" not in texts
    for helpful in ("rep.started", "running\tUp", "table inet diego_cell", "ActiveState=active", "overlay2"):
        assert helpful in texts
    cell.configure()
    machine.run("systemctl", "reload", SERVICE)


async def test_a_drain_empties_the_cell_and_leaves_it_down(cell: CellMachine) -> None:
    machine = cell.machine
    machine.run("diego-cell-drain")
    assert machine.property(SERVICE, "ActiveState") == "inactive"
    assert machine.property(SERVICE, "Result") == "success"
    assert cell.app_pids() == set()
    assert [name for name in cell.containers() if "cell-1" in name] == []
    assert "does not run" in machine.run("diego-cell-drain")
    await started(cell)
    await cell.running()


async def test_a_purge_leaves_nothing(cell: CellMachine) -> None:
    """While the cell runs: it is evacuated first."""
    machine = cell.machine
    machine.run("dpkg", "--purge", "diego-cell", "diego-ssh-proxy", "diego-cell-common")
    assert cell.app_pids() == set()
    assert machine.status("nft", "list", "table", "inet", "diego_cell")[0] != 0
    assert "diego-cell" not in machine.run("ip", "-brief", "link")
    assert cell.containers() == []
    machine.run("systemctl", "stop", "plane")
    machine.run("rm", "-rf", "/var/lib/plane")
    assert "diego-ssh-proxy" not in machine.read("/etc/passwd")
    assert machine.run("systemctl", "list-unit-files", "diego-*", "--no-legend", check=False) == ""
    assert machine.files() - cell.before == set()
