"""An origin that tells each whole request that its parser has found: a line with method, target and length of the
body; GET /seen answers with the lines since the last time."""

import http.server

SEEN = []


def body_of(handler):
    """The length of the body; None if it broke off."""
    if handler.headers.get("Transfer-Encoding") is None:
        wanted = int(handler.headers.get("Content-Length", 0))
        return wanted if len(handler.rfile.read(wanted)) == wanted else None
    length = 0
    while line := handler.rfile.readline():
        size = int(line, 16)
        if len(handler.rfile.read(size + 2)) < size + 2:
            return None
        if size == 0:
            return length
        length += size
    return None


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self):
        length = body_of(self)
        if length is None:
            self.close_connection = True
            return
        body = b""
        if self.path == "/seen":
            body = "".join(SEEN).encode()
            SEEN.clear()
        else:
            SEEN.append(f"{self.command} {self.path} {length}\n")
        self.send_response(200)
        self.send_header("X-Origin", "seen")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_DELETE = do_OPTIONS = answer


SERVER = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(f"listening {SERVER.server_port}", flush=True)
SERVER.serve_forever()
