"""Lookup of apps in the desired LRPs: by pushed name or by GUID."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator

from bbs.client.api import BBSClient
from bbs.models.actions import Action, CodependentAction, RunAction
from bbs.models.desired_lrp import DesiredLRP
from bbs.models.errors import BBSError, ErrorType
from cell.apps.recipes.values import APPS_DOMAIN
from cell.client.session import CommandFailed, Session


def processes(lrp: DesiredLRP) -> Iterator[RunAction]:
    """The parallel processes of an instance."""
    actions: tuple[Action | None, ...] = (lrp.action,)
    if isinstance(lrp.action, CodependentAction):
        actions = lrp.action.actions
    yield from (action for action in actions if isinstance(action, RunAction))


def app_name(lrp: DesiredLRP) -> str:
    """The name in the app's own environment; empty if there is none."""
    for process in processes(lrp):
        for variable in process.env:
            if variable.name == "VCAP_APPLICATION":
                try:
                    return str(json.loads(variable.value)["application_name"])
                except (ValueError, KeyError, TypeError):
                    return ""
    return ""


async def versions(bbs: BBSClient, name: str) -> list[DesiredLRP]:
    """All LRPs of an app, latest first; there are several during a push."""
    lrps = await bbs.desired_lrps(domain=APPS_DOMAIN)
    found = [lrp for lrp in lrps if name in (app_name(lrp), lrp.log_guid)]
    return sorted(found, key=lambda lrp: lrp.annotation, reverse=True)


async def find_app(bbs: BBSClient, name: str) -> DesiredLRP:
    """The LRP with the GUID, or the latest one of an app. Raises CommandFailed, BBSError."""
    try:
        return await bbs.desired_lrp(name)
    except BBSError as error:
        if error.type is not ErrorType.ResourceNotFound:
            raise
    found = await versions(bbs, name)
    if not found:
        known = sorted({app_name(lrp) for lrp in await bbs.desired_lrps(domain=APPS_DOMAIN)} - {""})
        apps = f"apps: {', '.join(known)}" if known else "there are no apps"
        raise CommandFailed(f"no app or LRP is named {name!r}; {apps}")
    return found[0]


async def for_each_lrp(session: Session, name: str, call: Callable[[str], Awaitable[object]]) -> list[str]:
    """Call with the LRP's GUID, or for all LRPs of an app; returns the process GUIDs. Raises BBSError.

    App names are resolved at a `cell dev` only; another BBS gets exactly the name given.
    """
    try:
        await call(name)
    except BBSError as error:
        pushed = session.target.file_server and error.type is ErrorType.ResourceNotFound
        found = await versions(session.bbs, name) if pushed else []
        if not found:
            raise
        for lrp in found:
            await call(lrp.process_guid)
        return [lrp.process_guid for lrp in found]
    return [name]
