"""The services without an engine: control plane, router, ssh proxy. Each replaces this process."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from bbs.client.identity import IdentityFiles
from bbs.embedded.store.statefolder import private_folder
from cell.container.pki import PASSWORD, ensure_authority, ensure_ssh_secrets, own_identity
from cell.container.settings import (
    API_PORT,
    BBS_PORT,
    BUNDLE,
    CONTROL_PLANE,
    FILE_SERVER_PORT,
    LOCKET_PORT,
    LOGGREGATOR_PORT,
    LOGS_PORT,
    METRON,
    PAGE_PORT,
    PLANE,
    ROUTER_HEALTH_PORT,
    ROUTER_PORT,
    RUNTIME,
    SCRAPER,
    SHARED,
    SSH_HEALTH_PORT,
    SSH_PORT,
    PublishedPorts,
)
from cell.development.endpoints import FILE_NAME
from cell.development.statefolder import open_private

ANYWHERE = "0.0.0.0"
CLIENT = "client"
"""Folder and certificate of clients outside."""


def run_control_plane() -> NoReturn:
    """Raises CommandError, OSError."""
    ports = PublishedPorts.of(os.environ)
    authority = ensure_authority(SHARED)
    _, password = ensure_ssh_secrets(SHARED)
    identity = own_identity(SHARED, RUNTIME, CONTROL_PLANE, METRON)
    private_folder(PLANE)
    client = PLANE / CLIENT
    authority.issue(client, CLIENT)
    authority.issue(SCRAPER, SCRAPER.name)
    write_target(client, target(os.environ.get("PUBLISHED_HOST") or "127.0.0.1", ports), password)
    _become(
        *("control-plane", "--state-dir", str(PLANE), "--bundle", str(BUNDLE)),
        *_identity_options(identity),
        *("--trusted-network", "--allow-host", CONTROL_PLANE),
        *("--upload-host", f"{CONTROL_PLANE}:{FILE_SERVER_PORT}"),
        *(f"--bbs-address={ANYWHERE}:{BBS_PORT}", f"--locket-address={ANYWHERE}:{LOCKET_PORT}"),
        *(f"--loggregator-address={ANYWHERE}:{LOGGREGATOR_PORT}", f"--api-address={ANYWHERE}:{API_PORT}"),
        *(f"--file-server-address={ANYWHERE}:{FILE_SERVER_PORT}", f"--logs-address={ANYWHERE}:{LOGS_PORT}"),
        f"--page-address={ANYWHERE}:{PAGE_PORT}",
    )


def run_router() -> NoReturn:
    """Raises CommandError, OSError."""
    identity = own_identity(SHARED, RUNTIME, "router")
    _become(
        *("router", "--bbs-url", f"https://{CONTROL_PLANE}:{BBS_PORT}", *_identity_options(identity)),
        *("--address", f"{ANYWHERE}:{ROUTER_PORT}", "--health-address", f"127.0.0.1:{ROUTER_HEALTH_PORT}"),
    )


def run_ssh_proxy() -> NoReturn:
    """Raises CommandError, OSError."""
    identity = own_identity(SHARED, RUNTIME, "ssh-proxy")
    host_key, password = ensure_ssh_secrets(SHARED)
    config = RUNTIME / "ssh_proxy.json"
    with open_private(config, "w") as file:
        json.dump(ssh_proxy_config(identity, host_key.read_text(), password), file)
    _become("ssh-proxy", "-config", str(config))


def ssh_proxy_config(identity: IdentityFiles, host_key: str, password: str) -> dict[str, object]:
    """The configuration of the ssh proxy. Pure."""
    return {
        "address": f"{ANYWHERE}:{SSH_PORT}",
        "health_check_address": f"127.0.0.1:{SSH_HEALTH_PORT}",
        "host_key": host_key,
        "bbs_address": f"https://{CONTROL_PLANE}:{BBS_PORT}",
        "bbs_ca_cert": str(identity.ca_file),
        "bbs_client_cert": str(identity.cert_file),
        "bbs_client_key": str(identity.key_file),
        "enable_diego_auth": True,
        "diego_credentials": password,
        "log_level": "info",
        "time_format": "rfc3339",
    }


def target(host: str, ports: PublishedPorts) -> dict[str, object]:
    """The addresses for commands outside of the containers. Pure."""
    return {
        "remote": True,
        "bbs": f"https://{host}:{ports.bbs}",
        "locket": f"{host}:{ports.locket}",
        "receptor": f"http://{host}:{ports.api}",
        "file_server": f"http://{host}:{ports.file_server}",
        "file_server_of_cells": f"http://{CONTROL_PLANE}:{FILE_SERVER_PORT}",
        "logs": f"http://{host}:{ports.logs}",
        "page": f"http://{host}:{ports.page}/",
        "router": f"http://localhost:{ports.router}",
        "ssh": f"{host}:{ports.ssh}",
        "tls": {"ca": "ca.crt", "cert": f"{CLIENT}.crt", "key": f"{CLIENT}.key"},
    }


def write_target(folder: Path, document: Mapping[str, object], password: str) -> None:
    """Write what clients outside copy: addresses and the password of the ssh proxy. Raises OSError."""
    for name, text in ((FILE_NAME, json.dumps(document, indent=2)), (PASSWORD, password)):
        with open_private(folder / name, "w") as file:
            file.write(f"{text}\n")


def _identity_options(identity: IdentityFiles) -> tuple[str, ...]:
    return (
        *("--ca-cert", str(identity.ca_file), "--cert", str(identity.cert_file)),
        *("--key", str(identity.key_file)),
    )


def _become(*words: str) -> NoReturn:
    """Replace this process by ``cell WORDS``."""
    os.execv(sys.executable, [sys.executable, "-m", "cell", *words])
