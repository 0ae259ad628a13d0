"""How long `bearerd run` takes to its first proxied 200, and what it needs at rest then.

All four simulated vendors are configured, so that the way goes through a login, a chain of three
exchanges and a token grant; the request that is timed needs the login's token.
"""

import http.client
import json
import signal
import subprocess
import time
import tomllib
from pathlib import Path
from statistics import median

import measure
import proxies


def sandbox(folder: Path) -> tuple[subprocess.Popen, str]:
    """The simulators, and the configuration that they print."""
    printed = folder / "sandbox.toml"
    with printed.open("w") as output:
        process = subprocess.Popen(
            [proxies.BINARY, "sandbox", "--port", "0", "--quiet"], stdout=output, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 10
    while time.monotonic() < end:
        text = printed.read_text()
        if len(tomllib.loads(text).get("routes", {})) == 4 and text.endswith('"\n'):
            return process, text
        time.sleep(0.02)
    raise SystemExit("the sandbox printed no configuration")


def first_answer(config: str, port: int) -> tuple[float, tuple[float, float]]:
    """Milliseconds from the start of the process to the first 200, and its memory a second later."""
    began = time.monotonic()
    process = subprocess.Popen(
        [proxies.BINARY, "run", "--config", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while time.monotonic() < began + 10:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                connection.request("POST", "/payhub/user/getpayinstatus")
                answer = connection.getresponse()
                body = answer.read()
                took = (time.monotonic() - began) * 1000
                # This vendor says 200 to everything, and in the body how it went.
                if answer.status != 200 or json.loads(body)["responseCode"] != 200:
                    raise SystemExit(f"the first answer was {answer.status}: {body!r}")
                time.sleep(1)
                return took, measure.memory_mib(process.pid)
            except OSError:
                time.sleep(0.0005)
        raise SystemExit("bearerd did not come up")
    finally:
        process.terminate()
        process.wait(30)


def measured(folder: Path, tries: int = 11) -> tuple[float, tuple[float, float]]:
    vendors, text = sandbox(folder)
    try:
        port = proxies.free_port()
        config = folder / "bearerd.toml"
        text = text.replace("127.0.0.1:8080", f"127.0.0.1:{port}")
        config.write_text(text.replace("127.0.0.1:9180", f"127.0.0.1:{proxies.free_port()}"))
        config.chmod(0o600)
        runs = [first_answer(str(config), port) for _ in range(tries)]
    finally:
        vendors.send_signal(signal.SIGTERM)
        vendors.wait(10)
    return median(took for took, _ in runs), runs[-1][1]
