"""bearerd, with all its defaults: only addresses, the credential and one worker are said."""

import os
from pathlib import Path

from contestants.site import Site
from origin import TOKEN, tenant
from server import PATH, Server, free_port

BINARY = Path(os.environ.get("BEARERD_BINARY", Path(__file__).parents[2] / "target/release/bearerd"))

#: What else `[server]` says.
SERVER = ""


def server(
    label: str, site: Site, *, tenants: int = 0, asked: int = 0, workers: int = 1, login: bool = False, more: str = ""
) -> Server:
    """One route for everything, of which more can be said; or a route and a credential for each tenant, the first of
    which are asked."""
    origin = f"{site.upstream.scheme}://127.0.0.1:{site.upstream.port}"
    port = free_port()
    parts = [f"""
[server]
workers = {workers}
{SERVER}
[admin]
listen = "127.0.0.1:{free_port()}"
[listeners.app]
bind = "127.0.0.1:{port}"
"""]
    if site.upstream.authority:
        parts.append(f'[egress.bench]\nca = "{site.upstream.authority}"\n')
    names = [tenant(number) for number in range(tenants)]
    for name in names:
        parts.append(static(site, f"tenant-{name}", f"{TOKEN}-{name}"))
        parts.append(route(site, f"tenant-{name}", f"/tenant-{name}", f"{origin}/tenant-{name}"))
    if not names:
        parts.append(exchanged(origin) if login else static(site, "origin", TOKEN))
        parts.append(route(site, "origin", "/", origin) + more)
    config = site.write("bearerd.toml", "".join(parts))
    paths = tuple(f"/tenant-{name}{PATH}" for name in names[:asked]) or (PATH,)
    command = [str(BINARY), "run", "--config", str(config)]
    return Server(label, command, port, paths=paths, http2=True, workers=workers)


def static(site: Site, name: str, token: str) -> str:
    """A credential whose token stands in a file."""
    return f"""
[credentials.{name}]
flow = "static"
token = {{ file = "{site.write(f"token-{name}", token)}" }}
expires = "never"
"""


def exchanged(origin: str) -> str:
    """A credential that is obtained by a login."""
    return f"""
[credentials.origin]
flow = "login"
inject = {{ headers = {{ Authorization = "Bearer {{token}}" }} }}
[[credentials.origin.steps]]
method = "POST"
url = "{origin}/login"
outputs = {{ token = "/token" }}
"""


def route(site: Site, name: str, path: str, upstream: str) -> str:
    egress = 'egress = "bench"\n' if site.upstream.authority else ""
    return f"""
[routes.{name}]
path = "{path}"
upstream = "{upstream}"
credential = "{name}"
{egress}"""
