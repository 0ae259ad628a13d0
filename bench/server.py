"""Servers as processes: ports, start, pinning to a CPU, stop."""

import itertools
import os
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

APP_HEADER = "Authorization: Bearer sent-by-the-app"
PATH = "/data/1?page=2"

# Below the range from which connections take their own ports, so that a server can start again later.
_ports = itertools.count(21_000)


def free_port() -> int:
    for port in _ports:
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


@contextmanager
def pinned(cpus: set[int]):
    """What is started within inherits these CPUs (and needs no other program for it)."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Failed(Exception):
    """A server that did not start, or did not answer as it must."""


@dataclass
class Server:
    """A contestant, or the origin: a process of ours that listens on one port of loopback."""

    name: str
    command: list[str]
    port: int
    #: What the app sends beside the usual; a proxy must replace it.
    header: str = APP_HEADER
    #: The targets that the load asks for in turn.
    paths: tuple[str, ...] = (PATH,)
    #: Whether it speaks HTTP/2 without TLS to the app, by prior knowledge.
    http2: bool = False
    workers: int = 1
    process: subprocess.Popen | None = field(default=None, repr=False)

    def spawn(self, cpus: set[int], wrapper: tuple[str, ...] = ()) -> None:
        with pinned(cpus):
            self.process = subprocess.Popen(
                [*wrapper, *self.command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL)

    def start(self, cpus: set[int], wrapper: tuple[str, ...] = (), seconds: float = 20.0) -> None:
        self.spawn(cpus, wrapper)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise Failed(f"ended with {self.process.returncode} at its start")
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.01)
        raise Failed(f"did not listen within {seconds:.0f} s")

    @property
    def pid(self) -> int:
        return self.process.pid

    def stop(self) -> None:
        if self.process is None:
            return
        for pid in self._serving():
            try:
                os.kill(pid, signal.SIGTERM)
            except ProcessLookupError:
                pass
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def _serving(self) -> list[int]:
        """The server itself, also where strace was started and the server is its child."""
        if self.process.args[0] != "strace":
            return [self.pid]
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [int(child) for child in children.read_text().split()] if children.exists() else []
