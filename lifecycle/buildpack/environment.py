"""The environment of a buildpack app's processes, shared by launcher and shell."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from contextlib import suppress

from common.goflags import FlagSet
from common.gojson import JSONError
from common.gotext import SECOND
from lifecycle import credhub
from lifecycle.services import complete_application, set_database_url

BASH = "/bin/bash"


class EnvironmentFailure(Exception):
    """The environment cannot be completed; ``str()`` is the text for standard error, without line end."""


def define_credhub_flags(flags: FlagSet) -> None:
    flags.integer("credhubConnectAttempts", 3, "how often to ask CredHub for credentials")
    flags.duration("credhubRetryDelay", SECOND, "time between two tries")


def interpolate(environment: MutableMapping[str, str], flags: FlagSet) -> None:
    """Replace the credential references in ``VCAP_SERVICES``. Raises PlatformOptionsError, CredHubError."""
    services = credhub.interpolate_for_buildpack(
        credhub.credhub_uri(environment),
        environment,
        flags.number("credhubConnectAttempts"),
        flags.number("credhubRetryDelay"),
    )
    if services is not None:
        environment["VCAP_SERVICES"] = services


def prepare(environment: MutableMapping[str, str], app: str, flags: FlagSet) -> None:
    """Make ``environment`` that of the app in the absolute directory ``app``. Raises EnvironmentFailure."""
    environment["HOME"] = app
    environment["TMPDIR"] = clean(f"{app}/../tmp")
    environment["DEPS_DIR"] = clean(f"{app}/../deps")
    complete_application(environment)
    try:
        interpolate(environment, flags)
    except credhub.PlatformOptionsError as error:
        raise EnvironmentFailure(f"Invalid platform options: {error}") from error
    except credhub.CredHubError as error:
        raise EnvironmentFailure(str(error)) from error
    environment.pop("VCAP_PLATFORM_OPTIONS", None)
    with suppress(JSONError):  # an app without usable services starts anyway; errors are not reported
        set_database_url(environment)


def clean(path: str) -> str:
    """The path without ``.``, ``..`` and repeated slashes."""
    cleaned = os.path.normpath(path)
    return cleaned[1:] if cleaned.startswith("//") else cleaned


def absolute(path: str) -> str:
    """The cleaned path as an absolute path."""
    return clean(os.path.join(os.getcwd(), path))


_RUN_SCRIPTS = """
for __folder in %s; do
  if [[ -n $(shopt -s nullglob; set -- $__folder/*; [[ $# == 1 && -d $1 ]] && set -- $1/*; echo $*) ]]; then
    for __file in $__folder/*; do
      source $__file
    done
  fi
done
unset __folder __file
"""
"""A directory that contains only one empty directory counts as empty. Names are not quoted: apps expect this.
"""


def source_scripts(*folders: str) -> str:
    """Shell source that runs every file of the folders in the current shell."""
    return _RUN_SCRIPTS % " ".join(folders)
