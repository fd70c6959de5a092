"""Stage an app: run a staging Task like a Cloud Controller, and print its result.

Buildpacks build a droplet from a folder; for an image the staging reads its configuration. With --json the
result goes to standard output and progress to standard error.

  cell stage examples/apps/python
  cell stage shop --buildpack ~/buildpacks/ruby --buildpack https://example.com/web.zip
  cell stage --docker-image registry.example.com:5000/team/shop:v3
"""

from __future__ import annotations

import json

from cell.apps import staging
from cell.apps.blobs import Blobs
from cell.apps.choices import Choices, app_of, check, credentials, name, options
from cell.apps.lookup import versions
from cell.client.session import Session, bbs_command


@bbs_command()
@options
async def stage(session: Session, choices: Choices) -> None:
    check(choices)
    registry = credentials(choices)
    async with Blobs.of(session.target) as blobs:
        known = await versions(session.bbs, name(choices))
        app = app_of(choices, known[0].log_guid if known else "")
        staged = await staging.stage(choices, session, blobs, app, registry)
    if not session.output.for_people:
        droplet = {"droplet": staged.droplet.url, "sha256": staged.droplet.sha256} if staged.droplet else {}
        session.output.line(json.dumps({**droplet, "result": json.loads(staged.text)}))
        return
    for kind, command in staged.result.process_types.items():
        session.output.line(f"{kind}: {command}")
    for label, value in staged.result.metadata.items():
        session.output.line(f"{label}: {value if isinstance(value, str) else json.dumps(value)}")
    if staged.droplet:
        session.output.line(f"droplet: {staged.droplet.url}\nsha256: {staged.droplet.sha256}")
