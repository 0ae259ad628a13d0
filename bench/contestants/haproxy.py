"""HAProxy, from Debian: as a proxy that injects, and in TCP mode as the floor of any proxy."""

from contestants.site import Site
from origin import TOKEN
from server import Server, free_port

#: Large bodies: the kernel moves the bytes. `splice-auto` often decides against it, at twice the CPU time.
SPLICE = "    option splice-response\n"
PIPE = 1024 * 1024


def http(label: str, site: Site) -> Server:
    setup, port = site.setup, free_port()
    tls = ""
    if site.upstream.authority:
        tls = (f" ssl verify required ca-file {site.upstream.authority} verifyhost localhost"
               " sni str(localhost) ssl-min-ver TLSv1.3")
    config = site.write("haproxy.cfg", f"""
global
    nbthread 1
    maxconn 4096
    tune.pool-low-fd-ratio 90
    tune.pool-high-fd-ratio 95
    tune.pipesize {PIPE}
defaults
    mode http
    timeout connect 5s
    timeout client 600s
    timeout server 600s
    option http-keep-alive
    http-reuse always
{SPLICE if setup.bulk else ""}listen app
    bind 127.0.0.1:{port}{" proto h2" if setup.http2 else ""}
    http-request set-header Authorization "Bearer {TOKEN}"
    server origin 127.0.0.1:{site.upstream.port} pool-max-conn 4096 pool-purge-delay 600s{tls}
""")
    return Server(label, ["haproxy", "-db", "-q", "-f", str(config)], port, http2=setup.http2)


def tcp(label: str, site: Site) -> Server:
    """Forwards bytes and cannot inject, so that here the app itself sends the token."""
    port = free_port()
    config = site.write("haproxy-tcp.cfg", f"""
global
    nbthread 1
    maxconn 4096
    tune.pipesize {PIPE}
defaults
    mode tcp
    timeout connect 5s
    timeout client 600s
    timeout server 600s
{SPLICE if site.setup.bulk else ""}listen app
    bind 127.0.0.1:{port}
    server origin 127.0.0.1:{site.upstream.port}
""")
    return Server(label, ["haproxy", "-db", "-q", "-f", str(config)], port, header=f"Authorization: Bearer {TOKEN}")
