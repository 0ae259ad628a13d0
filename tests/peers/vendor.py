"""A vendor that answers calls from one address, and tells what it saw of them. Of a token it says in which file it is."""

import http.server
import json
import sys

address, *files = sys.argv[1:]
TOKENS = {"Bearer " + open(file).read().strip(): file for file in files}


class Vendor(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        caller, token = self.client_address[0], self.headers["authorization"]
        if self.path == "/address":
            status, body = 200, caller
        else:
            seen = {"from": caller, "path": self.path, "token": TOKENS.get(token, token), "x-hop": self.headers["x-hop"]}
            status, body = (200 if caller == address else 403), json.dumps(seen)
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("", 8000), Vendor).serve_forever()
