"""What a request takes in numbers that no other work on the machine touches."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

import client
from kinds.closed import Http2
from kinds.kind import Kind
from measure import cpu_seconds
from place import Place
from server import Server

#: The few are enough to ask each of 1,000 routes once, so that all connections stand.
FEW, MANY, CONNECTIONS = 1280, 7040, 64


@dataclass(frozen=True)
class Counted(Kind):
    """User instructions (callgrind) and system calls (strace) per request.

    A contestant runs twice under each counter, with few and with many requests: the difference is what
    the requests took, without start and end.
    """

    side_by_side = False
    #: Over HTTP/2 it is h2load that sends: what it takes to read and write is shared by many streams.
    http2: Http2 | None = None

    def turn(self, server: Server, place: Place, seconds: float) -> dict[str, float]:
        folder = place.folder_of(server)
        callgrind, strace = folder / "callgrind.out", folder / "strace.out"

        def instructions() -> int:
            return int(re.search(r"^(?:summary|totals): (\d+)", callgrind.read_text(), re.M)[1])

        def calls() -> int:
            return int(re.search(r"(\d+)(?:\s+\d+)?\s+total$", strace.read_text(), re.M)[1])

        valgrind = ("valgrind", "--tool=callgrind", "-q", f"--callgrind-out-file={callgrind}")
        tracer = ("strace", "-f", "-c", "-U", "calls,errors,name", "-o", str(strace))
        return {
            "instructions": self._per_request(server, place, valgrind, instructions),
            "system_calls": self._per_request(server, place, tracer, calls),
        }

    def _per_request(self, server: Server, place: Place, wrapper: tuple[str, ...], total: Callable[[], int]) -> float:
        totals = []
        for requests in (FEW, MANY):
            server.start(place.cpus_of(server), wrapper, seconds=120)
            until_quiet(server.pid)
            self._ask(server, requests)
            until_quiet(server.pid)
            server.stop()
            totals.append(total())
        return (totals[1] - totals[0]) / (MANY - FEW)

    def _ask(self, server: Server, requests: int) -> None:
        if self.http2:
            self.http2.load(server, requests)
            return
        connections = [client.connect(server) for _ in range(CONNECTIONS)]
        client.exchange(server, connections, requests)
        for connection in connections:
            connection.close()


def until_quiet(pid: int) -> None:
    """Waits until a process has nothing more to do: its start, or the end of its connections."""
    while True:
        before = cpu_seconds(pid)
        time.sleep(0.3)
        if cpu_seconds(pid) - before < 0.01:
            return
