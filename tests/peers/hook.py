"""A receiver of webhooks that verifies with the library of Standard Webhooks, and says what it saw."""

import http.server
import sys

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

hook = Webhook(sys.argv[1])


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            notice = hook.verify(body, {name.lower(): value for name, value in self.headers.items()})
            print("verified", notice["event"], notice["name"], flush=True)
        except WebhookVerificationError as error:
            print("forged", error, flush=True)
        try:
            hook.verify(body + b" ", {name.lower(): value for name, value in self.headers.items()})
            print("a changed body passes", flush=True)
        except WebhookVerificationError:
            pass
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


server = http.server.HTTPServer(("127.0.0.1", 0), Receiver)
print("listening on", server.server_port, flush=True)
server.serve_forever()
