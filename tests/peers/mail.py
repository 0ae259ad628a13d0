"""aiosmtpd: a mail server with one user, by STARTTLS or by TLS from the first byte. Says what it took."""

import asyncio
import email
import email.policy
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

way, cert, key, password, mechanism = sys.argv[1:]


class Inbox:
    async def handle_DATA(self, server, session, envelope):
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        problems = [defect for part in mail.walk() for defect in part.defects]
        secured = session.ssl is not None or way == "tls"
        print("mail", envelope.mail_from, ",".join(envelope.rcpt_tos), "secured" if secured else "plain",
              "known" if session.authenticated else "unknown", len(problems), mail["subject"], flush=True)
        for line in mail.get_content().splitlines():
            print("line", line, flush=True)
        return "250 taken"


def authenticate(server, session, envelope, chosen, data):
    right = isinstance(data, LoginPassword) and (data.login, data.password) == (b"bearerd", password.encode())
    return AuthResult(success=right and chosen == mechanism, handled=False)


async def main():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    excluded = {"PLAIN", "LOGIN"} - {mechanism}

    def session():
        return SMTP(
            Inbox(),
            tls_context=context if way == "starttls" else None,
            require_starttls=way == "starttls",
            auth_required=True,
            auth_require_tls=way == "starttls",
            authenticator=authenticate,
            auth_exclude_mechanism=excluded,
        )

    loop = asyncio.get_running_loop()
    server = await loop.create_server(session, "127.0.0.1", 0, ssl=context if way == "tls" else None)
    print("listening on", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
