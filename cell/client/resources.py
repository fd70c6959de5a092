"""Listing of Locket's resources, for ``cell locks`` and ``cell presences``."""

from __future__ import annotations

import grpc

from bbs.client.locket import LocketClient, LocketError, channel_credentials
from bbs.models.locket import Resource, TypeCode
from cell.client import tables
from cell.client.session import ComponentFailed, Session
from cell.client.target import BadArguments, Target


async def list_resources(session: Session, type_code: TypeCode) -> None:
    """List all resources of one type."""
    where = session.target
    if not where.locket_address:
        raise BadArguments("no Locket: name one with --locket-address or LOCKET_API_LOCATION")
    credentials = _credentials(where)
    timeout_s = where.policy().request_timeout_s or None
    async with LocketClient(where.locket_address, credentials) as locket:
        try:
            found = await locket.fetch_all(type_code, timeout_s=timeout_s)
        except LocketError as error:
            code = error.code.name.title().replace("_", "")
            raise ComponentFailed(
                f"rpc error: code = {code} desc = {error.message} (Locket at {where.locket_address})"
            ) from error
    session.output.values([to_json(resource) for resource in found], tables.resources)


def to_json(resource: Resource) -> dict[str, object]:
    """The JSON form of the Go program, without an empty value."""
    value = {"value": resource.value} if resource.value else {}
    kind = {"type": resource.type_code.name.lower(), "type_code": int(resource.type_code)}
    return {"key": resource.key, "owner": resource.owner, **value, **kind}


def _credentials(where: Target) -> grpc.ChannelCredentials | None:
    if where.tls is None:
        return None
    if where.tls.ca_file is None:
        raise BadArguments("gRPC verifies Locket's certificate in any case: give --ca-cert (CA_CERT_FILE)")
    try:
        return channel_credentials(where.tls.ca_file, where.tls.cert_file, where.tls.key_file)
    except OSError as error:
        raise BadArguments(f"{error.filename} cannot be read: {error.strerror}") from error
