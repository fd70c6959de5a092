"""The daemon's start-up: flags, log, keys. It runs in a separate process, which then exits.

So the listener process does not load the modules that only the start-up needs.
"""

from __future__ import annotations

import os

from common.goerrors import reason
from common.goflags import FlagError, FlagExit, FlagSet
from common.lager import LEVELS, TIME_FORMATS
from sshd.keys import KeyRejected, authorized_blob, check_private_key, generate_private_key
from sshd.records import ERROR, INFO, Records

HOST_KEY_VARIABLE = "SSHD_HOSTKEY"
AUTHORIZED_KEY_VARIABLE = "SSHD_AUTHKEY"

CONFIGURATION_FAILED = 1
BAD_FLAG = 2

Prepared = dict[str, object]
"""Plain values for the listener and its worker; see :func:`prepare`."""


def prepare(argv: list[str]) -> Prepared | int:
    """The settings to serve with, or an exit status after the error has been logged."""
    flags = _flags(argv[0])
    try:
        flags.parse(argv[1:])
    except FlagExit as ending:
        return ending.status
    level = flags.text("logLevel")
    if level not in LEVELS:
        os.write(2, f"unknown log level: {level}\n".encode())
        return BAD_FLAG
    records = Records("sshd", LEVELS.index(level), flags.value("timeFormat") == "rfc3339")
    host_key, authorized_key = flags.text("hostKey"), flags.text("authorizedKey")
    if os.environ.get(HOST_KEY_VARIABLE):
        host_key = os.environ[HOST_KEY_VARIABLE]
        authorized_key = os.environ.get(AUTHORIZED_KEY_VARIABLE, "")
    elif (failure := _not_a_path(argv[0])) is not None:
        records.write(ERROR, "failed-exec", error=failure)
        records.close()
        return CONFIGURATION_FAILED
    blob, problems = _check_keys(
        records, host_key, authorized_key, flags.is_set("allowUnauthenticatedClients")
    )
    if problems:
        records.write(ERROR, "configure-failed", error=", ".join(problems))
        records.close()
        return CONFIGURATION_FAILED
    records.write(INFO, "started")
    records.close()
    return {
        "address": flags.text("address"),
        "host_key": host_key or generate_private_key(),
        "authorized_key": blob,
        "allow_unauthenticated": flags.is_set("allowUnauthenticatedClients"),
        "inherit_environment": flags.is_set("inheritDaemonEnv"),
        "ciphers": flags.text("allowedCiphers"),
        "macs": flags.text("allowedMACs"),
        "key_exchanges": flags.text("allowedKeyExchanges"),
        "host_key_algorithms": flags.text("allowedHostKeyAlgorithms"),
        "log_level": records.level,
        "rfc3339": records.rfc3339,
    }


def _flags(name: str) -> FlagSet:
    flags = FlagSet(name)
    flags.string("address", "127.0.0.1:2222", "TCP address to listen on")
    flags.string("hostKey", "", "PEM of the host's private key")
    flags.string("authorizedKey", "", "public key of the one user, as a line of authorized_keys")
    flags.boolean("allowUnauthenticatedClients", "let in everybody")
    flags.boolean("inheritDaemonEnv", "give commands the daemon's environment")
    flags.string("allowedCiphers", "", "comma list of ciphers instead of the default")
    flags.string("allowedMACs", "", "comma list of MACs instead of the default")
    flags.string("allowedKeyExchanges", "", "comma list of key exchange methods instead of the default")
    flags.string("allowedHostKeyAlgorithms", "", "comma list that restricts the host key's signatures")
    flags.string("debugAddr", "", "ignored")
    flags.string("logLevel", "info", "debug, info, error or fatal")
    flags.boolean("redactSecrets", "ignored: no record has a secret")
    flags.string("redactPatterns", "", "ignored")
    flags.custom("timeFormat", _time_format, "unix-epoch or rfc3339")
    return flags


def _time_format(value: str) -> str:
    if value not in TIME_FORMATS:
        raise FlagError(f'invalid TimeFormat: "{value}"')
    return value


def _not_a_path(argv0: str) -> str | None:
    """Why the program cannot be executed again under its own name. Keys on the command line require that."""
    try:
        os.stat(argv0)
    except OSError as error:
        return reason(error)
    return None


def _check_keys(
    records: Records, host_key: str, authorized_key: str, allow_unauthenticated: bool
) -> tuple[bytes | None, list[str]]:
    """The blob of the authorized key, and all errors found."""
    problems: list[str] = []
    blob: bytes | None = None
    if host_key:
        try:
            check_private_key(host_key)
        except KeyRejected as error:
            records.write(ERROR, "failed-to-parse-host-key", error=str(error))
            records.write(ERROR, "failed-to-acquire-host-key", error=str(error))
            problems.append(str(error))
    if authorized_key:
        try:
            blob = authorized_blob(authorized_key)
        except KeyRejected as error:
            problems.append(str(error))
    elif not allow_unauthenticated:
        records.write(ERROR, "authorized-key-required")
        problems.append("Public user key is required")
    return blob, problems
