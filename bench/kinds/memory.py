"""Memory at rest, and what idle connections add to it."""

import time
from dataclasses import dataclass

import client
from kinds.kind import Kind
from measure import proportional_mib, resident_mib
from place import Place
from server import Server


@dataclass(frozen=True)
class Memory(Kind):
    """Resident memory of a fresh process; then with connections that have each served one request, if any."""

    connections: int = 1000
    at_once: int = 50
    side_by_side = False

    def turn(self, server: Server, place: Place, seconds: float) -> dict[str, float]:
        server.start(place.cpus_of(server))
        time.sleep(0.5)
        figures = {"rest_mib": resident_mib(server.pid), "rest_proportional_mib": proportional_mib(server.pid)}
        if self.connections:
            figures["idle_mib"] = self._with_idle_connections(server) - figures["rest_mib"]
        server.stop()
        return figures

    def _with_idle_connections(self, server: Server) -> float:
        connections = []
        for _ in range(self.connections // self.at_once):
            wave = [client.connect(server) for _ in range(self.at_once)]
            client.exchange(server, wave, len(wave))
            connections += wave
        time.sleep(1)
        resident = resident_mib(server.pid)
        for connection in connections:
            connection.close()
        return resident
