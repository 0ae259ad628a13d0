"""The contestants: one worker each, keep-alive on both sides, logs off, injecting the same header.

Each is set up as somebody would who wants it to be fast, and replaces what the app sent as
Authorization. What a reader can improve for any of them is a fault of this folder.
"""

from functools import partial
from pathlib import Path

from contestants import bearerd, direct, envoy, haproxy, nghttpx, nginx
from contestants.site import Setup, Site
from origin import Origin
from server import Server

__all__ = ["BUILDERS", "MANY_ROUTES", "Setup", "build"]

MANY_ROUTES = 1000

BUILDERS = {
    "bearerd": bearerd.server,
    "bearerd, 1 of 1 route": partial(bearerd.server, tenants=1, asked=1),
    "bearerd, 1 of 1,000 routes": partial(bearerd.server, tenants=MANY_ROUTES, asked=1),
    "bearerd, 1,000 routes": partial(bearerd.server, tenants=MANY_ROUTES, asked=MANY_ROUTES),
    "bearerd, 2 workers": partial(bearerd.server, workers=2),
    "bearerd, guard off": partial(bearerd.server, more='guard = "off"\n'),
    "bearerd, with a login": partial(bearerd.server, login=True),
    "nginx": nginx.server,
    "haproxy": haproxy.http,
    "tcp": haproxy.tcp,
    "envoy": envoy.server,
    "nghttpx": nghttpx.server,
    "direct": direct.Direct,
}


def build(label: str, setup: Setup, folder: Path, origin: Origin) -> Server:
    """A contestant by its label, ready to be started."""
    server = BUILDERS[label](label, Site(folder, origin, setup))
    if setup.path:
        server.paths = (setup.path,)
    return server
