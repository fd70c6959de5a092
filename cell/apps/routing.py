"""The route of a pushed app, at a control plane with a router."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from cell.routing.routes import CF_ROUTER

NO_LABEL = re.compile(r"[^a-z0-9-]+")
MAX_LABEL = 63


@dataclass(frozen=True, slots=True)
class AppRoute:
    """host: of the route. url: for people."""

    host: str
    url: str

    @classmethod
    def of(cls, name: str, router: str) -> Self | None:
        """The route of an app: its name as a label below the router's host. None without a router."""
        if not router:
            return None
        place = urlsplit(router)
        label = NO_LABEL.sub("-", name.lower())[:MAX_LABEL].strip("-") or "app"
        host = f"{label}.{place.hostname}"
        port = f":{place.port}" if place.port else ""
        return cls(host, f"{place.scheme}://{host}{port}/")

    def routes(self, port: int) -> dict[str, object]:
        """The routes of the LRP. port: of the container."""
        return {CF_ROUTER: [{"hostnames": [self.host], "port": port}]}
