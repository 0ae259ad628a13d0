"""From the start of the process to its first proxied answer."""

import socket
import time
from dataclasses import dataclass

import client
from kinds.kind import Kind
from place import Place
from server import Failed, Server


@dataclass(frozen=True)
class Start(Kind):
    """Asks again and again until a connection stands; the request that is sent on it is answered with 200."""

    side_by_side = False

    def turn(self, server: Server, place: Place, seconds: float) -> dict[str, float]:
        request, began = client.head(server, server.paths[0]), time.monotonic()
        server.spawn(place.cpus_of(server))
        try:
            while time.monotonic() < began + 20:
                try:
                    with socket.create_connection(("127.0.0.1", server.port), 5) as connection:
                        connection.sendall(request)
                        client.answer(connection, server)
                        return {"start_ms": (time.monotonic() - began) * 1e3}
                except (ConnectionRefusedError, ConnectionResetError):
                    time.sleep(0.0002)
            raise Failed("did not come up")
        finally:
            server.stop()
