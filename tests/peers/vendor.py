"""A vendor that answers calls from one address, and tells what it saw of them."""

import http.server
import json
import sys


class Vendor(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        caller = self.client_address[0]
        if self.path == "/address":
            status, body = 200, caller
        else:
            seen = {name: self.headers[name] for name in ("authorization", "x-hop")}
            status, body = (200 if caller == sys.argv[1] else 403), json.dumps({"from": caller, "path": self.path, **seen})
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("", 8000), Vendor).serve_forever()
