"""nghttpx, from Debian: the proxy of the nghttp2 library."""

from contestants.site import Site
from origin import TOKEN
from server import Server, free_port


def server(label: str, site: Site) -> Server:
    """Debian's has no mruby, so it adds a field but replaces none: here the app sends no Authorization."""
    port, nothing = free_port(), site.write("nghttpx.conf", "")
    tls = [f"--cacert={site.upstream.authority}", "--tls-min-proto-version=TLSv1.3"] if site.upstream.authority else []
    backend = f"127.0.0.1,{site.upstream.port};;proto=http/1.1" + (";tls;sni=localhost" if tls else "")
    command = [
        "nghttpx", f"--conf={nothing}", f"--frontend=127.0.0.1,{port};no-tls", f"--backend={backend}", *tls,
        f"--add-request-header=authorization: Bearer {TOKEN}",
        "--workers=1", "--single-process", "--single-thread",
        "--accesslog-file=/dev/null", "--log-level=FATAL", "--errorlog-file=/dev/null",
        "--no-via", "--no-add-x-forwarded-proto", "--no-location-rewrite", "--no-server-rewrite", "--no-server-push",
        "--frontend-http2-max-concurrent-streams=128", "--backend-keep-alive-timeout=600s",
        "--frontend-keep-alive-timeout=600s", "--backlog=4096",
    ]
    return Server(label, command, port, header="", http2=True)
