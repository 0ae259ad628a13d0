"""The origin: an nginx that answers 401 to whatever does not carry the injected token.

So each request that is timed is proven to have been injected: a single 401 ends the run.
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import texts
from server import Server, free_port

TOKEN = "bench-0f7c2b1e9d6a4853"
#: A file, of which nobody reads the bytes as text, and as many bytes of JSON.
BULK_PATH, BULK_TEXT_PATH = "/bulk", "/bulk-text"
BULK_BYTES = 10 * 1024 * 1024
SMALL_BYTES = 1024
SMALL = f'{{"data":"{"x" * (SMALL_BYTES - 11)}"}}'
#: Answers of the sizes between: their types, and what is in them.
TEXTS = {
    "/listing-16k": ("application/json", texts.listing(16 * 1024)),
    "/listing-100k": ("application/json", texts.listing(100 * 1024)),
    "/nested-16k": ("application/json", texts.nested(16 * 1024)),
    "/page-100k": ("text/html; charset=utf-8", texts.page(100 * 1024)),
}
#: Answers a request only when it has read all of its body.
UPLOAD_PATH = "/upload"
#: How many bytes are answered, but for those targets that have `SMALL_BYTES`.
LENGTHS = {
    BULK_PATH: BULK_BYTES, BULK_TEXT_PATH: BULK_BYTES,
    **{path: len(content) for path, (_, content) in TEXTS.items()},
}


def tenant(number: int) -> str:
    """One of the many routes: the first segment of its path, and what its token ends in."""
    return f"{number:04d}"


@dataclass(frozen=True)
class Upstream:
    """Where a proxy sends its requests."""

    port: int
    #: The file with the authority that signed the origin's certificate; None for plain HTTP.
    authority: Path | None = None

    @property
    def scheme(self) -> str:
        return "https" if self.authority else "http"


class Origin(Server):
    """One process, with a port for each way in which upstreams behave."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        authority = certificates(folder)
        self.plain = Upstream(free_port())
        self.tls = Upstream(free_port(), authority)
        #: Closes after each answer, and writes down whether the TLS session was resumed.
        self.closing = Upstream(free_port(), authority)
        self.sessions = folder / "sessions.log"
        (folder / "bulk.bin").write_bytes(bytes(range(256)) * (BULK_BYTES // 256))
        (folder / "small.json").write_text(SMALL)
        rows = "".join(f'{{"id":"tx-{number:06}","amount":"{number}.99","text":"Invoice {number}"}},\n'
                       for number in range(BULK_BYTES // 50))
        (folder / "bulk.json").write_text(rows[:BULK_BYTES])
        for path, (_, content) in TEXTS.items():
            (folder / path[1:]).write_bytes(content)
        config = folder / "origin.conf"
        config.write_text(self._config())
        super().__init__("origin", ["nginx", "-c", str(config)], self.plain.port,
                         header=f"Authorization: Bearer {TOKEN}")

    def resumed_since(self, size: int) -> float:
        """Of the requests to the closing port since its log had this size, how many came over a resumed session."""
        with self.sessions.open("rb") as log:
            log.seek(size)
            each = log.read().split()
        return each.count(b"r") / len(each)

    def _config(self) -> str:
        folder, body = self.folder, SMALL
        between = "".join(f"""
            location = {path} {{
                if ($http_authorization != "Bearer {TOKEN}") {{ return 401; }}
                default_type "{media_type}";
                alias {folder}{path};
            }}""" for path, (media_type, _) in TEXTS.items())
        locations = f"""
            default_type application/json;
            location / {{
                if ($http_authorization != "Bearer {TOKEN}") {{ return 401; }}
                return 200 '{body}';
            }}
            location = {BULK_PATH} {{
                if ($http_authorization != "Bearer {TOKEN}") {{ return 401; }}
                default_type application/octet-stream;
                alias {folder}/bulk.bin;
            }}
            location = {BULK_TEXT_PATH} {{
                if ($http_authorization != "Bearer {TOKEN}") {{ return 401; }}
                alias {folder}/bulk.json;
            }}
            location = {UPLOAD_PATH} {{
                if ($http_authorization != "Bearer {TOKEN}") {{ return 401; }}
                client_body_buffer_size 128k;
                mirror /nowhere;
                alias {folder}/small.json;
                error_page 405 =200 /small.json;
            }}
            location = /nowhere {{ internal; return 204; }}
            location = /small.json {{ internal; alias {folder}/small.json; }}{between}
            location = /login {{ return 200 '{{"token":"{TOKEN}"}}'; }}
            location ~ ^/tenant-(?<tenant>[0-9]+)/ {{
                if ($http_authorization != "Bearer {TOKEN}-$tenant") {{ return 401; }}
                return 200 '{body}';
            }}"""
        # One suite and one group, so that all contestants do the same arithmetic.
        tls = f"""
            ssl_certificate {folder}/server.pem;
            ssl_certificate_key {folder}/server.key;
            ssl_protocols TLSv1.3;
            ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
            ssl_ecdh_curve X25519;
            ssl_session_cache shared:sessions:4m;"""
        return f"""
daemon off;
master_process off;
pid {folder}/origin.pid;
error_log {folder}/origin.log crit;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    log_format resumed $ssl_session_reused;
    sendfile on;
    tcp_nopush on;
    open_file_cache max=16;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    client_body_temp_path {folder}/o-body; proxy_temp_path {folder}/o-proxy;
    fastcgi_temp_path {folder}/o-f; uwsgi_temp_path {folder}/o-u; scgi_temp_path {folder}/o-s;
    server {{
            listen 127.0.0.1:{self.plain.port} backlog=4096;{locations}
    }}
    server {{
            listen 127.0.0.1:{self.tls.port} ssl backlog=4096;{tls}{locations}
    }}
    server {{
            listen 127.0.0.1:{self.closing.port} ssl backlog=4096;{tls}{locations}
            keepalive_timeout 0;
            access_log {self.sessions} resumed;
    }}
}}
"""


def certificates(folder: Path) -> Path:
    """An authority, and a certificate of it for localhost."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    for name in ("authority", "server"):
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", f"{name}.key")
    openssl("req", "-x509", "-new", "-key", "authority.key", "-subj", "/CN=bench", "-days", "2",
            "-addext", "keyUsage=critical,keyCertSign", "-out", "authority.pem")
    openssl("req", "-new", "-key", "server.key", "-subj", "/CN=localhost", "-out", "server.csr")
    (folder / "server.ext").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "authority.pem", "-CAkey", "authority.key",
            "-CAcreateserial", "-days", "2", "-extfile", "server.ext", "-out", "server.pem")
    return folder / "authority.pem"
