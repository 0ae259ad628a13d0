"""A small HTTP/1.1 client: for exact numbers of requests, where a load generator only knows a time.

Any answer but 200 ends the run: the origin answers 401 to what was not injected.
"""

import re
import socket
from itertools import cycle

from server import Server


class NotInjected(SystemExit):
    """While it was measured, a request was not answered with 200: no figure of this run counts."""


def head(server: Server, path: str, body: bytes = b"") -> bytes:
    """A whole request."""
    lines = [f"{'POST' if body else 'GET'} {path} HTTP/1.1", f"Host: 127.0.0.1:{server.port}"]
    if server.header:
        lines.append(server.header)
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def answer_head(connection: socket.socket, server: Server) -> tuple[int, int]:
    """Reads an answer's head: how many bytes of the body came with it, and how many are to come."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        piece = connection.recv(65536)
        if not piece:
            raise NotInjected(f"{server.name} closed without an answer: {answer!r}")
        answer += piece
    top, _, rest = answer.partition(b"\r\n\r\n")
    if not top.startswith(b"HTTP/1.1 200"):
        raise NotInjected(f"{server.name} did not answer 200 while it was measured: {top!r}")
    return len(rest), int(re.search(rb"(?i)content-length: *(\d+)", top)[1]) - len(rest)


def answer(connection: socket.socket, server: Server) -> None:
    """Reads a whole answer."""
    _, left = answer_head(connection, server)
    while left > 0:
        piece = connection.recv(65536)
        if not piece:
            raise NotInjected(f"{server.name} broke off an answer")
        left -= len(piece)


def connect(server: Server) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port), 60)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def exchange(server: Server, connections: list[socket.socket], requests: int, body: bytes = b"") -> None:
    """Sends exactly so many requests; all connections have one in flight."""
    heads = cycle([head(server, path, body) for path in server.paths])
    for _ in range(requests // len(connections)):
        for connection in connections:
            connection.sendall(next(heads))
        for connection in connections:
            answer(connection, server)
