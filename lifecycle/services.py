"""Variables derived from ``VCAP_APPLICATION`` and ``VCAP_SERVICES`` for launchers, shell and builder."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

from common.gojson import JSONError, decode, decode_object, encode, member
from common.gotext import decimal_integer
from common.gourl import URLError, parse

HOST = "0.0.0.0"
"""The address an app should listen on."""
DATABASE_SCHEMES = {
    "mysql": "mysql2",
    "mysql2": "mysql2",
    "postgres": "postgres",
    "postgresql": "postgres",
}
"""Scheme of a service URI -> scheme in ``DATABASE_URL``."""
_INSTANCE = (("port", "PORT"), ("instance_index", "INSTANCE_INDEX"))


def complete_application(environment: MutableMapping[str, str]) -> None:
    """Add address and instance of the app to ``VCAP_APPLICATION``.

    A value that is not a JSON object, or is nested too deeply, is left unchanged.
    """
    try:
        application = decode(environment.get("VCAP_APPLICATION", ""))
    except JSONError:
        return
    if not isinstance(application, dict):
        return
    application["host"] = HOST
    application["instance_id"] = environment.get("INSTANCE_GUID", "")
    for name, variable in _INSTANCE:
        number = decimal_integer(environment.get(variable, ""))
        if number is not None:
            application[name] = number
    try:
        environment["VCAP_APPLICATION"] = encode(application, sort=True)
    except JSONError:
        return


def set_database_url(environment: MutableMapping[str, str]) -> None:
    """Set ``DATABASE_URL`` to the first relational database among the services, if there is one.

    Raises JSONError if ``VCAP_SERVICES`` cannot be decoded; the environment is unchanged then.
    """
    services = environment.get("VCAP_SERVICES")
    if not services:
        return
    for uri in list(_uris(decode_object(services, "services"))):
        try:
            url = parse(uri)
        except URLError:
            continue
        if url.scheme in DATABASE_SCHEMES:
            url.scheme = DATABASE_SCHEMES[url.scheme]
            environment["DATABASE_URL"] = str(url)
            return


def _uris(services: dict[str, Any]) -> Iterator[str]:
    """``credentials.uri`` of every service instance in document order. Raises JSONError."""
    for label, instances in services.items():
        for number, instance in enumerate(member({label: instances}, label, list, label) or []):
            where = f"{label}[{number}]"
            instance = member({where: instance}, where, dict, where) or {}
            credentials = member(instance, "credentials", dict, f"{where}.credentials") or {}
            uri = member(credentials, "uri", str, f"{where}.credentials.uri")
            if uri is not None:
                yield uri
