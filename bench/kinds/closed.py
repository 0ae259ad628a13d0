"""Closed loops: so many requests in flight, each answer is followed by the next request (wrk, h2load)."""

import re
import subprocess
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path

from client import NotInjected
from kinds.kind import Kind
from measure import cpu_seconds
from place import Place
from server import Server


@dataclass(frozen=True)
class Closed(Kind):
    """HTTP/1.1 by wrk."""

    connections: int = 64
    #: Bytes of a request body; 0 asks with GET.
    post: int = 0
    #: How many requests wrk goes through, prepared by a script. One without a script is sent with less effort, and
    #: what is asked by a slower client answers fewer at once: so all contestants are asked in the same way.
    scripted: int = 0
    #: Also how many of the TLS connections to the origin resumed a session.
    sessions: bool = False

    def prepare(self, server: Server, place: Place) -> None:
        """Writes what wrk sends, where it is more than one GET; nothing is made while it runs."""
        if self.post:
            script = 'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\n'
            script += f"wrk.body = '{{\"data\":\"' .. string.rep('x', {self.post - 11}) .. '\"}}'\n"
        elif self.scripted:
            paths = ", ".join(f'"{path}"' for path in islice(cycle(server.paths), self.scripted))
            script = f"""
local paths, requests, next = {{ {paths} }}, {{}}, 0
function init() for place, path in ipairs(paths) do requests[place] = wrk.format("GET", path) end end
function request() next = next % #requests + 1 return requests[next] end
"""
        else:
            return
        self._script(server, place).write_text(script)

    def turn(self, server: Server, place: Place, seconds: float) -> dict[str, float]:
        script = self._script(server, place)
        command = ["wrk", f"-t{len(place.load_cpus)}", f"-c{self.connections}", f"-d{max(1, round(seconds))}",
                   "--latency", *(["-s", str(script)] if script.exists() else []),
                   *(["-H", server.header] if server.header else []),
                   f"http://127.0.0.1:{server.port}{server.paths[0]}"]
        handshakes = place.origin.sessions.stat().st_size
        before = cpu_seconds(server.pid)
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        used = cpu_seconds(server.pid) - before
        if "Non-2xx" in output or "Socket errors" in output:
            raise NotInjected(f"{server.name} failed requests while it was timed:\n{output}")
        resumed = {"resumed": place.origin.resumed_since(handshakes)} if self.sessions else {}
        return {
            "cpu_us": used / int(re.search(r"(\d+) requests in", output)[1]) * 1e6,
            "per_second": float(re.search(r"Requests/sec:\s+([\d.]+)", output)[1]),
            "p50_ms": milliseconds(re.search(r"^\s+50%\s+(\S+)", output, re.M)[1]),
            "p99_ms": milliseconds(re.search(r"^\s+99%\s+(\S+)", output, re.M)[1]),
            **resumed,
        }

    def _script(self, server: Server, place: Place) -> Path:
        return place.folder_of(server) / "wrk.lua"


def milliseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()
    return float(number) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[unit]


@dataclass
class Http2(Kind):
    """HTTP/2 with prior knowledge by h2load."""

    connections: int = 4
    streams: int = 100
    #: Requests a second that each contestant answered before it was timed.
    pace: dict[str, float] = field(default_factory=dict)

    def prepare(self, server: Server, place: Place) -> None:
        """Looks how many requests fill a turn: h2load forgets what is in flight when a time is over."""
        for requests in (4_000, 20_000):
            self.pace[server.name] = self.load(server, requests)["per_second"]

    def turn(self, server: Server, place: Place, seconds: float) -> dict[str, float]:
        return self.load(server, round(self.pace[server.name] * seconds))

    def load(self, server: Server, requests: int) -> dict[str, float]:
        """Sends exactly so many requests."""
        command = ["h2load", "-t1", f"-c{self.connections}", f"-m{self.streams}", f"-n{requests}",
                   *(["-H", server.header.lower()] if server.header else []),
                   f"http://127.0.0.1:{server.port}{server.paths[0]}"]
        before = cpu_seconds(server.pid)
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        used = cpu_seconds(server.pid) - before
        answered = re.search(r"status codes: (\d+) 2xx", output)
        if not answered or int(answered[1]) != requests:
            raise NotInjected(f"{server.name} failed requests while it was timed:\n{output}")
        return {
            "cpu_us": used / requests * 1e6,
            "per_second": float(re.search(r"([\d.]+) req/s", output)[1]),
        }
