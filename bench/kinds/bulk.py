"""Large answers: CPU time per GiB, and how much memory they take."""

import select
import socket
import time
from dataclasses import dataclass, field

import client
from kinds.kind import Kind
from measure import cpu_seconds, forget_peak, peak_mib, resident_mib
from origin import BULK_BYTES, BULK_PATH
from place import Place
from server import Server

GIB = 1024**3


@dataclass
class Bulk(Kind):
    """Several connections download one answer after the other; the client throws the bytes away unread."""

    path: str = BULK_PATH
    connections: int = 8
    #: Memory of each contestant once it has answered a small request.
    idle: dict[str, float] = field(default_factory=dict)
    nowhere: bytearray = field(default_factory=lambda: bytearray(BULK_BYTES), repr=False)

    def prepare(self, server: Server, place: Place) -> None:
        with client.connect(server) as connection:
            client.exchange(server, [connection], 1)
        time.sleep(0.2)
        self.idle[server.name] = resident_mib(server.pid)

    def turn(self, server: Server, place: Place, seconds: float) -> dict[str, float]:
        forget_peak(server.pid)
        before, began = cpu_seconds(server.pid), time.monotonic()
        answers = self._download(server, began + seconds)
        took, used = time.monotonic() - began, cpu_seconds(server.pid) - before
        gib = answers * BULK_BYTES / GIB
        return {
            "cpu_ms_per_gib": used / gib * 1e3,
            "gib_per_second": gib / took,
            "peak_over_idle_mib": peak_mib(server.pid) - self.idle[server.name],
        }

    def _download(self, server: Server, end: float) -> int:
        """Downloads until the time is over, and then to the end: how many whole answers came."""
        request, poll, answers = client.head(server, self.path), select.poll(), 0
        open_ones: dict[int, socket.socket] = {}
        left: dict[int, int] = {}  # of the answer on each connection; without it, a head is to come
        for _ in range(self.connections):
            connection = client.connect(server)
            open_ones[connection.fileno()] = connection
            poll.register(connection, select.POLLIN)
            connection.sendall(request)
        while open_ones:
            for number, _ in poll.poll():
                connection = open_ones[number]
                if number not in left:
                    rest, left[number] = client.answer_head(connection, server)
                    if rest + left[number] != BULK_BYTES:
                        raise client.NotInjected(f"{server.name} changed the length of an answer")
                else:
                    # With this flag the kernel counts the bytes and drops them, in place of a copy.
                    got = connection.recv_into(self.nowhere, left[number], socket.MSG_TRUNC)
                    if not got:
                        raise client.NotInjected(f"{server.name} broke off an answer")
                    left[number] -= got
                if left[number] == 0:
                    answers += 1
                    del left[number]
                    if time.monotonic() < end:
                        connection.sendall(request)
                    else:
                        poll.unregister(number)
                        open_ones.pop(number).close()
        return answers
