"""What is measured, and how: CPU time, memory, throughput, latency, instructions, system calls."""

import re
import socket
import subprocess
import time
from dataclasses import dataclass
from math import comb
from pathlib import Path
from statistics import median

import proxies

APP_HEADER = "Authorization: Bearer sent-by-the-app"


def tree(pid: int) -> list[int]:
    """A process and all its descendants."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found = [pid]
    for parent in found:
        found.extend(children.get(parent, []))
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of a process tree, from each process's own CPU clock (nanoseconds)."""
    return sum(time.clock_gettime(((~one) << 3) | 2) for one in tree(pid))


def memory_mib(pid: int) -> tuple[float, float]:
    """Resident and proportional memory of a process tree."""
    resident = proportional = 0
    for one in tree(pid):
        text = Path(f"/proc/{one}/smaps_rollup").read_text()
        resident += int(re.search(r"^Rss:\s+(\d+)", text, re.M)[1])
        proportional += int(re.search(r"^Pss:\s+(\d+)", text, re.M)[1])
    return resident / 1024, proportional / 1024


@dataclass
class Turn:
    """One short load on one proxy."""

    requests: int
    per_second: float
    cpu_us: float
    p50_ms: float
    p99_ms: float


def milliseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()
    return float(number) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[unit]


def load(server: proxies.Server, seconds: int, connections: int, cpu: int, header: str) -> Turn:
    """Runs wrk once; any answer but 200 ends the comparison."""
    before = cpu_seconds(server.pid)
    output = subprocess.run(
        ["taskset", "-c", str(cpu), "wrk", "-t1", f"-c{connections}", f"-d{seconds}", "--latency",
         "-H", header, f"http://127.0.0.1:{server.port}/data/1?page=2"],
        check=True, capture_output=True, text=True,
    ).stdout
    used = cpu_seconds(server.pid) - before
    if "Non-2xx" in output or "Socket errors" in output:
        raise SystemExit(f"{server.name} failed requests:\n{output}")
    requests = int(re.search(r"(\d+) requests in", output)[1])
    return Turn(
        requests,
        float(re.search(r"Requests/sec:\s+([\d.]+)", output)[1]),
        used / requests * 1e6,
        milliseconds(re.search(r"^\s+50%\s+(\S+)", output, re.M)[1]),
        milliseconds(re.search(r"^\s+99%\s+(\S+)", output, re.M)[1]),
    )


def exact_load(port: int, header: str, requests: int, connections: int = 64) -> None:
    """Sends exactly so many requests, on keep-alive connections, all of which have one in flight."""
    head = f"GET /data/1?page=2 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{header}\r\n\r\n".encode()
    sockets = [socket.create_connection(("127.0.0.1", port), 60) for _ in range(connections)]
    for _ in range(requests // connections):
        for one in sockets:
            one.sendall(head)
        for one in sockets:
            answer = b""
            while b"\r\n\r\n" not in answer:
                piece = one.recv(65536)
                if not piece:
                    raise SystemExit(f"closed without an answer: {answer!r}")
                answer += piece
            top, _, rest = answer.partition(b"\r\n\r\n")
            if not top.startswith(b"HTTP/1.1 200"):
                raise SystemExit(f"not 200: {top!r}")
            left = int(re.search(rb"(?i)content-length: *(\d+)", top)[1]) - len(rest)
            while left > 0:
                left -= len(one.recv(65536))
    for one in sockets:
        one.close()


def counted(server: proxies.Server, header: str, wrapper: tuple[str, ...], total) -> float:
    """Runs a proxy twice under a counter, with few and with many requests: the difference is the cost
    of a request, without start and end."""
    few, many = 640, 6400
    totals = []
    for requests in (few, many):
        server.start(wrapper=wrapper, seconds=120)
        exact_load(server.port, header, requests)
        time.sleep(0.3)
        server.stop()
        totals.append(total())
    return (totals[1] - totals[0]) / (many - few)


def instructions(server: proxies.Server, header: str, folder: Path) -> float:
    """User instructions per request, by callgrind; repeats to a thousandth on any machine."""
    out = folder / "callgrind.out"

    def total() -> int:
        files = [file for file in folder.glob("callgrind.out*")]
        text = "\n".join(file.read_text() for file in files)
        for file in files:
            file.unlink()
        return sum(int(number) for number in re.findall(r"^(?:summary|totals): (\d+)", text, re.M)[:1])

    tool = ("valgrind", "--tool=callgrind", "-q", f"--callgrind-out-file={out}")
    return counted(server, header, tool, total)


def system_calls(server: proxies.Server, header: str, folder: Path) -> float:
    """System calls per request, by strace."""
    out = folder / "strace.out"

    def total() -> int:
        return int(re.search(r"(\d+)(?:\s+\d+)?\s+total$", out.read_text(), re.M)[1])

    return counted(server, header, ("strace", "-f", "-c", "-U", "calls,errors,name", "-o", str(out)), total)


def median_interval(values: list[float]) -> tuple[float, float, float]:
    """The median, and its 95 % confidence interval by order statistics (no distribution assumed)."""
    ordered = sorted(values)
    count = len(ordered)
    below, cut = 0.0, 0
    for index in range(count // 2):
        below += comb(count, index) / 2**count
        if below > 0.025:
            break
        cut = index + 1
    low = ordered[cut - 1] if cut else ordered[0]
    high = ordered[count - cut] if cut else ordered[-1]
    return median(ordered), low, high
