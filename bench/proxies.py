"""The contestants: each one worker, keep-alive on both sides, logs off, injecting the same header.

Each is set up as somebody would who wants it to be fast. All replace what the app sent as
Authorization; the origin answers 401 to everything but the injected value, and a single 401 ends the
comparison, so that each request that is timed is proven to carry the injection.
"""

import os
import signal
import socket
import subprocess
import tempfile
import textwrap
import time
from dataclasses import dataclass, field
from pathlib import Path

TOKEN = "bench-0f7c2b1e9d6a4853"
BINARY = Path(__file__).parent.parent / "target/release/bearerd"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(port: int, process: subprocess.Popen, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            raise SystemExit(f"{process.args} ended with {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.01)
    raise SystemExit(f"nothing listens on {port}: {process.args}")


def server_processes(started: subprocess.Popen) -> list[int]:
    """The server itself, also where strace was started and the server is its child."""
    if "strace" not in started.args:
        return [started.pid]
    children = Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text()
    return [int(child) for child in children.split()]


@dataclass
class Server:
    """A process of ours that listens on one port of loopback."""

    name: str
    command: list[str]
    port: int
    processes: list[subprocess.Popen] = field(default_factory=list)

    def start(self, cpu: int | None = None, wrapper: tuple[str, ...] = (), seconds: float = 20.0) -> None:
        pin = ["taskset", "-c", str(cpu)] if cpu is not None else []
        process = subprocess.Popen(
            [*pin, *wrapper, *self.command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.processes.append(process)
        wait_for(self.port, process, seconds)

    @property
    def pid(self) -> int:
        return self.processes[-1].pid

    def stop(self) -> None:
        for process in self.processes:
            for pid in server_processes(process):
                os.kill(pid, signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()


class Contest:
    """Writes the configurations into a folder that goes away afterwards."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="bearerd-bench-"))
        os.chmod(self.folder, 0o755)
        self.origin = self._origin()

    def _write(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(textwrap.dedent(text))
        return str(path)

    def _nginx(self, name: str, port: int, http: str, single: bool) -> Server:
        path = self._write(
            f"{name}.conf",
            f"""
            daemon off;
            master_process {"off" if single else "on"};
            worker_processes 1;
            pid {self.folder}/{name}.pid;
            error_log {self.folder}/{name}.log crit;
            events {{ worker_connections 4096; }}
            http {{
                access_log off;
                keepalive_requests 1000000000;
                keepalive_timeout 600s;
                client_body_temp_path {self.folder}/{name}-body;
                proxy_temp_path {self.folder}/{name}-proxy;
                fastcgi_temp_path {self.folder}/{name}-f;
                uwsgi_temp_path {self.folder}/{name}-u;
                scgi_temp_path {self.folder}/{name}-s;
            {textwrap.indent(textwrap.dedent(http), "    ")}
            }}
            """,
        )
        return Server(name, ["nginx", "-c", path], port)

    def _origin(self) -> Server:
        """Answers 1 KiB to the injected token, 401 to anything else."""
        port = free_port()
        http = f"""
            server {{
                listen 127.0.0.1:{port} backlog=4096;
                default_type application/json;
                location / {{
                    if ($http_authorization != "Bearer {TOKEN}") {{ return 401; }}
                    return 200 '{{"data":"{"x" * 1013}"}}';
                }}
            }}
        """
        return self._nginx("origin", port, http, single=True)

    def nginx(self) -> Server:
        port = free_port()
        http = f"""
            upstream origin {{
                server 127.0.0.1:{self.origin.port};
                keepalive 256;
                keepalive_requests 1000000000;
                keepalive_timeout 600s;
            }}
            server {{
                listen 127.0.0.1:{port} backlog=4096;
                location / {{
                    proxy_pass http://origin;
                    proxy_http_version 1.1;
                    proxy_set_header Connection "";
                    proxy_set_header Authorization "Bearer {TOKEN}";
                }}
            }}
        """
        return self._nginx("nginx", port, http, single=True)

    def haproxy(self, mode: str = "http") -> Server:
        port = free_port()
        inject = f'http-request set-header Authorization "Bearer {TOKEN}"\n    http-reuse always'
        path = self._write(
            f"haproxy-{mode}.cfg",
            f"""
global
    nbthread 1
    maxconn 8192
defaults
    mode {mode}
    timeout connect 5s
    timeout client 600s
    timeout server 600s
    {"option http-keep-alive" if mode == "http" else ""}
listen app
    bind 127.0.0.1:{port}
    {inject if mode == "http" else ""}
    server origin 127.0.0.1:{self.origin.port} {"pool-max-conn 1024" if mode == "http" else ""}
            """,
        )
        return Server("haproxy" if mode == "http" else "tcp", ["haproxy", "-db", "-q", "-f", path], port)

    def bearerd(self) -> Server:
        port = free_port()
        secret = self.folder / "token"
        secret.write_text(TOKEN)
        secret.chmod(0o600)
        path = self._write(
            "bearerd.toml",
            f"""
            [server]
            workers = 1
            [admin]
            listen = "127.0.0.1:{free_port()}"
            [listeners.app]
            bind = "127.0.0.1:{port}"
            [credentials.origin]
            flow = "static"
            token = {{ file = "{secret}" }}
            expires = "never"
            [routes.origin]
            upstream = "http://127.0.0.1:{self.origin.port}"
            credential = "origin"
            """,
        )
        return Server("bearerd", [str(BINARY), "run", "--config", path], port)

    def contestants(self) -> list[Server]:
        """The TCP forwarding is no contestant, but the floor that no proxy can pass."""
        proxies = [self.nginx(), self.haproxy(), self.haproxy("tcp")]
        if BINARY.exists():
            proxies.insert(0, self.bearerd())
        return proxies
