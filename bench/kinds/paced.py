"""An open loop: requests at a fixed rate, whether or not the answers keep up.

The time of a request counts from the moment at which it was due, not from the moment at which it could
be sent; so a stall shows in all requests that fall into it (no coordinated omission).
"""

import gc
import select
import socket
import time
from collections import deque
from dataclasses import dataclass

import client
from kinds.kind import Kind
from measure import cpu_seconds
from place import Place
from server import Server


@dataclass(frozen=True)
class Paced(Kind):
    """So many requests a second; one that finds no connection idle waits for it, and its time runs."""

    rate: int = 2000
    connections: int = 64

    def turn(self, server: Server, place: Place, seconds: float) -> dict[str, float]:
        before = cpu_seconds(server.pid)
        gc.disable()
        try:
            times = sorted(self._send(server, round(self.rate * seconds)))
        finally:
            gc.enable()
        used = cpu_seconds(server.pid) - before
        return {
            "p50_us": times[len(times) // 2] * 1e6,
            "p99_us": times[len(times) * 99 // 100] * 1e6,
            "cpu_us": used / len(times) * 1e6,
        }

    def _send(self, server: Server, requests: int) -> list[float]:
        request = client.head(server, server.paths[0])
        idle = deque(client.connect(server) for _ in range(self.connections))
        for connection in idle:  # warm, not counted
            connection.sendall(request)
            client.answer(connection, server)
        due: dict[socket.socket, float] = {}
        times: list[float] = []
        began, sent, clock = time.perf_counter() + 0.01, 0, time.perf_counter
        while len(times) < requests:
            following = began + sent / self.rate
            if sent < requests and idle and clock() >= following:
                connection = idle.popleft()
                connection.sendall(request)
                due[connection] = following
                sent += 1
                continue
            pause = max(0.0, following - clock()) if sent < requests and idle else 1.0
            for connection in select.select(due, (), (), pause)[0]:
                client.answer(connection, server)
                times.append(clock() - due.pop(connection))
                idle.append(connection)
        for connection in idle:
            connection.close()
        return times
