"""The proof that a contestant injects, before it is timed. (While it is timed, the origin's 401 ends the run.)"""

import subprocess

from contestants import Setup
from origin import BULK_PATH, BULK_TEXT_PATH, LENGTHS, SMALL_BYTES, UPLOAD_PATH, Origin
from server import APP_HEADER, PATH, Failed, Server

BULK_PATHS = (BULK_PATH, BULK_TEXT_PATH)


def origin_refuses(origin: Origin) -> None:
    """Nothing but the token opens the origin: without this, the other proof would say nothing."""
    for path in (PATH, *LENGTHS, UPLOAD_PATH, "/tenant-0000/data"):
        for header in ("", APP_HEADER):
            for status, _ in fetch(origin.port, [path], header):
                if status != "401":
                    raise SystemExit(f"the origin answers {status} at {path} to {header or 'no token'}")


def injects(server: Server, setup: Setup) -> None:
    """Each target answers with as many bytes as the origin's, although the app sends another token.

    Raises `Failed` with the reason if not.
    """
    if setup.http2 and not server.http2:
        raise Failed("speaks no HTTP/2 without TLS")
    paths = [*server.paths, *(BULK_PATHS if setup.bulk else [])]
    for path, (status, length) in zip(paths, fetch(server.port, paths, server.header, setup.http2)):
        if status != "200":
            raise Failed(f"answered {status} at {path}")
        if length != LENGTHS.get(path, SMALL_BYTES):
            raise Failed(f"answered {length} bytes at {path}")


def fetch(port: int, paths: list[str], header: str, http2: bool = False) -> list[tuple[str, int]]:
    """Status and length of each answer; curl asks, so that another than our own client has seen it."""
    lines = [f'url = "http://127.0.0.1:{port}{path}"\noutput = "/dev/null"' for path in paths]
    command = ["curl", "--silent", "--show-error", "--max-time", "20", "--config", "-",
               "--write-out", "%{http_code} %{size_download}\n",
               "--http2-prior-knowledge" if http2 else "--http1.1", *(["--header", header] if header else [])]
    done = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"did not answer: {done.stderr.strip()}")
    return [(line.split()[0], int(line.split()[1])) for line in done.stdout.splitlines()]
