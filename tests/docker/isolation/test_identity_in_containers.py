"""Instance credentials and variables, seen by a process in a container."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from docker import APIClient

from bbs.models.actions import RunAction
from bbs.models.common import CertificateProperties, EnvironmentVariable
from executor.model import EventKind
from tests.support.paths import GOLDEN_FILES

if TYPE_CHECKING:
    from tests.support.cell import Cell

pytestmark = pytest.mark.docker

OpenCell = Callable[..., AbstractAsyncContextManager["Cell"]]
CRT, KEY = "/etc/cf-instance-credentials/instance.crt", "/etc/cf-instance-credentials/instance.key"


def leaf_of(lines: list[str]) -> x509.Certificate:
    return x509.load_pem_x509_certificates("\n".join(lines).encode())[0]


async def test_an_instance_finds_its_credentials(
    open_cell: OpenCell, identity: dict[str, Any], tmp_path: Path
) -> None:
    async with open_cell(**identity) as cell:
        await cell.start(
            "cat $CF_INSTANCE_CERT; touch $CF_INSTANCE_CERT 2>/dev/null || echo read-only; "
            "echo key; cat $CF_INSTANCE_KEY; exec sleep 1000",
            certificate_properties=CertificateProperties(organizational_unit=("app:a",)),
        )
        container = await cell.until(EventKind.RUNNING)
        await cell.log.until("END EC PRIVATE KEY")
        lines = [text for text in cell.log.texts if not text.startswith("Cell ")]
        certificate, key = lines[: lines.index("read-only")], lines[lines.index("key") + 1 :]
        leaf = leaf_of(certificate)
        private = serialization.load_pem_private_key("\n".join(key).encode(), password=None)
        assert private.public_key() == leaf.public_key()
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == [container.internal_ip]
        assert (tmp_path / "creds" / "ig" / "instance.key").read_text().split() == "\n".join(key).split()
        await cell.executor.delete("ig")
        assert [*(tmp_path / "creds").iterdir()] == []


async def test_a_key_is_in_its_file_and_nowhere_else(
    open_cell: OpenCell,
    identity: dict[str, Any],
    tmp_path: Path,
    docker_client: APIClient,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    async with open_cell(**identity) as cell:
        await cell.start("env; exec sleep 1000")
        await cell.until(EventKind.RUNNING)
        await cell.log.until("CF_INSTANCE_KEY")
        made = await cell.engine.find("ig")
        assert made is not None
        [line, *_] = (tmp_path / "creds/ig/instance.key").read_text().splitlines()[1:]
        told_to_engine = json.dumps(docker_client.inspect_container(made.id))
        commands = [
            path.read_bytes().decode(errors="replace")
            for number in [made.init_pid, *psutil.pids()]
            if (path := Path(f"/proc/{number}/cmdline")).exists()
        ]
        logged = [str(vars(record)) for record in caplog.records]
        assert not [where for where in (*commands, *logged, *cell.log.texts, told_to_engine) if line in where]


async def test_credentials_are_replaced_under_a_running_app(
    open_cell: OpenCell, identity: dict[str, Any]
) -> None:
    watch = (
        f"last=; while :; do now=$(md5sum < {CRT}); "
        'if [ "$now" != "$last" ]; then echo "certificate $now"; last=$now; fi; sleep 0.05; done'
    )
    async with open_cell(instance_identity_validity_period_s=2.0, **identity) as cell:
        await cell.start(watch)

        def seen() -> set[str]:
            return {text for text in cell.log.texts if text.startswith("certificate ")}

        await cell.until_true(lambda: len(seen()) >= 3)
        assert not cell.executor.container("ig").run_result.failed


async def test_an_instance_whose_credentials_cannot_be_renewed_ends(
    open_cell: OpenCell, identity: dict[str, Any], tmp_path: Path
) -> None:
    async with open_cell(instance_identity_validity_period_s=2.0, **identity) as cell:
        await cell.start("exec sleep 1000")
        await cell.until(EventKind.RUNNING)
        for path in (tmp_path / "creds" / "ig").iterdir():
            path.unlink()
        (tmp_path / "creds" / "ig").rmdir()
        complete = await cell.until(EventKind.COMPLETE)
        assert complete.run_result.failed
        assert complete.run_result.failure_reason.startswith(
            "cred-manager-runner exited: credentials of instance ig: "
        )


_GOLDEN = GOLDEN_FILES / "wire" / "container" / "exact-environment.json"
_CASES = {case["name"]: case for case in json.loads(_GOLDEN.read_text())["cases"]}


def anywhere(variable: str) -> str:
    """A variable without what differs from machine to machine: guids, addresses, host ports."""
    name = variable.partition("=")[0]
    if name in ("CF_INSTANCE_GUID", "INSTANCE_GUID"):
        return name
    return re.sub(r"10\.\d+\.\d+\.\d+|127\.0\.0\.1|[236]\d{4}", "x", variable)


@pytest.mark.parametrize("name", ["lrp", "task", "task as root"])
async def test_the_environment_is_the_recorded_one(
    open_cell: OpenCell, identity: dict[str, Any], tmp_path: Path, name: str
) -> None:
    case = _CASES[name]
    definition = case["definition"]
    certificates = tmp_path / "certificates"
    certificates.mkdir()
    lrp = (
        (
            ("INSTANCE_GUID", "ig"),
            ("INSTANCE_INDEX", "0"),
            ("CF_INSTANCE_GUID", "ig"),
            ("CF_INSTANCE_INDEX", "0"),
        )
        if name == "lrp"
        else ()
    )
    env = definition.get("lrp_env") or definition.get("task_env") or []
    action = RunAction(
        path="/bin/env",
        user=definition["user"],
        env=tuple(EnvironmentVariable(name=key, value=value) for key, value in definition["action_env"]),
    )
    async with open_cell(trusted_system_certificates_path=str(certificates), **identity) as cell:
        lines = await cell.output(
            "",
            action=action,
            ports=tuple(definition.get("ports", ())),
            env=(*lrp, *map(tuple, env)),
            trusted_system_certificates_path=definition.get("trusted_system_certificates_path", ""),
        )
    assert [*map(anywhere, lines)] == [*map(anywhere, case["environment"])]
