#!/usr/bin/env python3
"""bearerd with many: 100,000 subjects of one credential, or 10,000 credentials that last a minute each.

`python3 bench/many.py subjects|credentials [--binary PATH] [--count N] [--rounds N]`. There is nobody to compare with, so
the figures stand beside the bounds of the rules. The issuer and the upstream are this process: one
server that grants tokens to whoever asks, and answers everything else with 200.
"""

import argparse
import asyncio
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections import Counter, defaultdict
from pathlib import Path

ROOT = Path(__file__).parent.parent
TOKEN = "bench-admin-token"
#: What a token of the issuer's is long: most are between 30 and 1,000 bytes.
ACCESS, REFRESH = 64, 40


class Server(asyncio.Protocol):
    """Issuer and upstream. Requests may come in pieces, but not two at once."""

    grants: dict[str, list[float]] = defaultdict(list)
    lifetime = 60
    number = 0

    def connection_made(self, transport) -> None:
        self.transport, self.buffer = transport, b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, end, body = self.buffer.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        if not end or length and len(body) < int(length[1]):
            return
        self.buffer = b""
        answer = self.grant(body) if head.startswith(b"POST /token") else b"ok"
        self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
                             % (len(answer), answer))

    def grant(self, body: bytes) -> bytes:
        form = urllib.parse.parse_qs(body.decode())
        Server.number += 1
        Server.grants[form["client_id"][0]].append(time.monotonic())
        token = {"access_token": f"a{Server.number:0{ACCESS - 1}}", "token_type": "Bearer", "expires_in": Server.lifetime}
        if form["grant_type"][0] != "client_credentials":
            token["refresh_token"] = f"r{Server.number:0{REFRESH - 1}}"
        return json.dumps(token).encode()


class Client:
    """One kept-alive connection."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def open(self) -> "Client":
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self

    async def ask(self, method: str, target: str, fields: str = "", body: bytes = b"") -> tuple[int, bytes]:
        self.writer.write(f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n{fields}"
                          f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        return int(head[9:12]), await self.reader.readexactly(int(length[1]) if length else 0)


class Bearerd:
    """The process under measurement."""

    def __init__(self, binary: Path, folder: Path, configuration: str, name: str = "bearerd") -> None:
        self.binary, self.file, self.log = binary, folder / f"{name}.toml", folder / f"{name}.log"
        self.file.write_text(configuration)
        self.file.chmod(0o600)

    async def start(self) -> float:
        """Starts it and says after how long it listened, in seconds."""
        began = time.monotonic()
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [self.binary, "run", "--config", self.file], stdout=subprocess.DEVNULL, stderr=log)
        while "version=" not in (text := self.log.read_text()):
            if self.process.poll() is not None:
                sys.exit(f"bearerd ended:\n{text}")
            await asyncio.sleep(0.005)
        took = time.monotonic() - began
        port = lambda name: int(re.search(rf"listening listener=\"?{name}\"? address=\S*?:(\d+)", self.text())[1])
        self.app, self.admin = port("app"), port("admin")
        return took

    def text(self) -> str:
        return re.sub(r"\x1b\[[0-9;]*m", "", self.log.read_text())

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)

    def memory(self) -> int:
        """Resident bytes of its own."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"RssAnon:\s+(\d+)", status)[1]) * 1024

    def cpu(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def told(rows: list[tuple[str, str, str]]) -> None:
    print("| | measured | must |\n|---|---|---|")
    for row in rows:
        print("| " + " | ".join(row) + " |", flush=True)


def middle(times: list[float]) -> str:
    times = sorted(times)
    return f"{statistics.median(times) * 1e3:.2f} ms, 99 % within {times[len(times) * 99 // 100] * 1e3:.2f} ms"


async def subjects(options, folder: Path, port: int) -> None:
    """All of them log in, fall asleep, and are asked for."""
    Server.lifetime = 12 * 3600
    store = (f'[store]\nkind = "file"\npath = "{folder}/state"\nkey = {{ value = "{"5a" * 32}" }}\n'
             if options.store == "file" else "")
    count = options.count or 100_000
    bearerd = Bearerd(options.binary, folder, f"""
[server]
workers = 1
log = "info,bearerd::credential=error,bearerd::control=error"
max_logins = 100
subject_idle = "5s"
[admin]
listen = "127.0.0.1:0"
token = {{ value = "{TOKEN}" }}
{store}
[listeners.app]
bind = "127.0.0.1:0"
[credentials.people]
flow = "oauth2"
grant = "authorization_code"
authorization_url = "http://127.0.0.1:{port}/authorize"
token_url = "http://127.0.0.1:{port}/token"
client_id = "bench"
client_auth = "none"
redirect_uri = "http://127.0.0.1:9180/oauth/callback"
[routes.api]
upstream = "http://127.0.0.1:{port}"
credential = "people"
subject = {{ header = "X-Bearerd-Subject" }}
""")
    await bearerd.start()
    before = bearerd.memory()
    fields = f"Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n"
    names, began = iter(range(count)), time.monotonic()

    async def log_in() -> None:
        admin = await Client(bearerd.admin).open()
        for number in names:
            status, body = await admin.ask("POST", "/v1/credentials/people/authorize", fields,
                                           json.dumps({"subject": f"user-{number:06}"}).encode())
            assert status == 200, body
            answer = json.dumps({"code": "x", "state": json.loads(body)["state"]}).encode()
            status, body = await admin.ask("POST", "/v1/credentials/people/callback", fields, answer)
            assert status == 200, body

    await asyncio.gather(*(log_in() for _ in range(options.logins)))
    print(f"{count} logins in {time.monotonic() - began:.0f} s", flush=True)
    if options.store == "file":
        bearerd.stop()
        started = await bearerd.start()
    await awake(bearerd, 0)
    asleep = bearerd.memory()
    cpu = bearerd.cpu()
    await asyncio.sleep(options.seconds)
    cpu = (bearerd.cpu() - cpu) / options.seconds

    app = await Client(bearerd.app).open()

    async def ask(number: int) -> float:
        began = time.perf_counter()
        status, _ = await app.ask("GET", "/x", f"X-Bearerd-Subject: user-{number:06}\r\n")
        assert status == 200
        return time.perf_counter() - began

    await ask(0)
    same = [await ask(0) for _ in range(5000)]
    each = [await ask(number) for number in random.sample(range(count), min(count, 20_000))]
    most = bearerd.memory()
    # In a file the tokens are not in memory at all.
    tokens = ACCESS + REFRESH if options.store == "memory" else 0
    beside = (asleep - before) / count - tokens
    told([
        (f"memory of each of {count} that sleep, beside the tokens ({options.store})", f"{beside:.0f} B", "1024 B"),
        ("memory of all at most, once many are awake", f"{most / 2**20:.0f} MiB", ""),
        *([("start with all of them", f"{started:.2f} s", "2 s")] if options.store == "file" else []),
        ("CPU when nobody asks", f"{cpu * 100:.2f} %", "near zero"),
        ("a request for one that is awake", middle(same), ""),
        ("a request for another each time", middle(each), "the normal time"),
    ])
    bearerd.stop()


async def awake(bearerd: Bearerd, most: int) -> None:
    """Waits until no more are awake."""
    admin = await Client(bearerd.admin).open()
    while True:
        _, body = await admin.ask("GET", "/metrics")
        found = re.search(rb'bearerd_subjects\{[^}]*state="awake"\} (\d+)', body)
        if not found or int(found[1]) <= most:
            return
        await asyncio.sleep(0.5)


async def credentials(options, folder: Path, port: int) -> None:
    """Each is renewed within a window of six seconds, again and again. One process with few of them runs beside
    the one with many, and both are asked in turn: what else the machine does befalls both."""
    Server.lifetime = 60
    count, few_count = options.count or 10_000, 10

    def configuration(prefix: str, count: int) -> str:
        each = "".join(f"""
[credentials.{prefix}{number}]
flow = "oauth2"
grant = "client_credentials"
token_url = "http://127.0.0.1:{port}/token"
client_id = "{prefix}{number}"
client_auth = "none"
""" for number in range(count))
        return f"""
[server]
workers = 1
log = "info,bearerd::credential=error"
[admin]
listen = "127.0.0.1:0"
[listeners.app]
bind = "127.0.0.1:0"
{each}
[routes.api]
upstream = "http://127.0.0.1:{port}"
credential = "{prefix}0"
"""

    async def begin(prefix: str, count: int) -> tuple[Bearerd, Client]:
        bearerd = Bearerd(options.binary, folder, configuration(prefix, count), prefix)
        await bearerd.start()
        return bearerd, await Client(bearerd.app).open()

    few, many = await begin("few", few_count), await begin("many", count)

    def rounds() -> int:
        """How often each of all credentials was renewed, at least."""
        if len(Server.grants) < few_count + count:
            return -1
        return min(len(granted) for granted in Server.grants.values()) - 1

    while rounds() < 0:
        await asyncio.sleep(0.2)
    await asyncio.sleep(2)
    times: tuple[list[float], list[float]] = ([], [])
    cpu, began, looked, memory = many[0].cpu(), time.monotonic(), 0.0, 0
    while True:
        for (_, app), own in zip((few, many), times):
            asked = time.perf_counter()
            status, _ = await app.ask("GET", "/x")
            assert status == 200
            own.append(time.perf_counter() - asked)
        await asyncio.sleep(0.002)
        if time.monotonic() - looked < 1:
            continue
        looked, done = time.monotonic(), rounds()
        if done >= 1:
            # From the first renewal on, each has the values of the generation before beside its own.
            memory = max(memory, many[0].memory() - few[0].memory())
        if done >= options.rounds:
            break
    cpu = (many[0].cpu() - cpu) / (time.monotonic() - began)
    for bearerd, _ in (few, many):
        bearerd.stop()
    many_times = [granted for client, granted in Server.grants.items() if client.startswith("many")]
    gaps = [after - before for granted in many_times for before, after in zip(granted, granted[1:])]
    # Of each generation by itself: 10 % of the lifetime is the window in which a renewal starts.
    peaks = []
    for generation in range(1, options.rounds + 1):
        by_second = Counter(int(granted[generation]) for granted in many_times)
        peaks.append(max(by_second.values()) / (count / (Server.lifetime / 10)))
    told([
        (f"memory of each of {count} credentials, renewed at least once", f"{memory / (count - few_count):.0f} B", "4096 B"),
        ("most renewals in a second, by those due divided by the window",
         ", ".join(f"{peak:.2f}" for peak in peaks), "2"),
        ("earliest and latest renewal after the receipt", f"{min(gaps):.1f} s, {max(gaps):.1f} s", "before 57 s"),
        ("CPU", f"{cpu * 100:.0f} % of one", ""),
        (f"a proxied request beside {few_count} credentials", middle(times[0]), ""),
        (f"a proxied request beside {count}", middle(times[1]), "no slower"),
    ])


async def run(options) -> None:
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="bearerd-many-") as folder:
        await options.what(options, Path(folder), port)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["subjects", "credentials"])
    parser.add_argument("--binary", type=Path, default=ROOT / "target/release/bearerd")
    parser.add_argument("--count", type=int, help="default: 100,000 subjects, 10,000 credentials")
    parser.add_argument("--seconds", type=float, default=20, help="how long is measured where nothing happens")
    parser.add_argument("--rounds", type=int, default=3, help="renewals of each credential; one takes 50 s")
    parser.add_argument("--store", choices=["memory", "file"], default="memory")
    parser.add_argument("--logins", type=int, default=16, help="how many log in at once")
    options = parser.parse_args()
    options.what = {"subjects": subjects, "credentials": credentials}[options.what]
    options.binary = options.binary.resolve()
    asyncio.run(run(options))


if __name__ == "__main__":
    main()
