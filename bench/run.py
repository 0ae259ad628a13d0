#!/usr/bin/env python3
"""bearerd beside nginx and HAProxy, in one run: `make bench`.

One run of one proxy after the other cannot tell 4 % apart on a shared machine. So the proxies stay up
side by side and take short turns, in an order that is reversed from round to round; each is compared
with bearerd's turn of the same round, and the median of these ratios is told with its 95 % interval.
Instructions and system calls are counted beside the times: noise does not touch them.

usage: bench/run.py [--rounds 15] [--seconds 2] [--connections 64] [--no-counts]
Writes nothing but bench/results/ (ignored by git).
"""

import argparse
import json
import os
import platform
import shutil
import time
from pathlib import Path
from statistics import median

import measure
import proxies
import start

PROXY_CPU, LOAD_CPU = 0, 1
RESULTS = Path(__file__).parent / "results"


def machine() -> str:
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    return f"{model}, {os.cpu_count()} cores, Linux {platform.release()}"


def header(server: proxies.Server) -> str:
    """The app's own header, which must be replaced; TCP forwarding cannot, so there the app is honest."""
    return f"Authorization: Bearer {proxies.TOKEN}" if server.name == "tcp" else measure.APP_HEADER


def time_turns(contestants: list[proxies.Server], rounds: int, seconds: int, connections: int) -> dict:
    turns: dict[str, list[measure.Turn]] = {server.name: [] for server in contestants}
    for server in contestants:  # warm, not counted
        measure.load(server, 1, connections, LOAD_CPU, header(server))
    for number in range(rounds):
        shift = number // 2 % len(contestants)
        order = contestants[shift:] + contestants[:shift]
        for server in order if number % 2 == 0 else reversed(order):
            turns[server.name].append(measure.load(server, seconds, connections, LOAD_CPU, header(server)))
        print(f"  round {number + 1}/{rounds}: " + ", ".join(
            f"{name} {each[-1].cpu_us:.1f} us" for name, each in turns.items()), flush=True)
    return turns


def ratios(turns: dict, of: str, to: str) -> tuple[float, float, float]:
    return measure.median_interval([a.cpu_us / b.cpu_us for a, b in zip(turns[of], turns[to])])


def print_times(turns: dict, rest: dict, loaded: dict) -> None:
    print(f"\n{'':10}{'CPU us':>8}{'requests/s':>12}{'p50 ms':>8}{'p99 ms':>8}"
          f"{'MiB at rest (RSS/PSS)':>24}{'under load':>14}")
    for name, each in turns.items():
        print(f"{name:10}{median(t.cpu_us for t in each):8.2f}{median(t.per_second for t in each):12.0f}"
              f"{median(t.p50_ms for t in each):8.2f}{median(t.p99_ms for t in each):8.2f}"
              f"{rest[name][0]:16.1f}/{rest[name][1]:<7.1f}{loaded[name][0]:8.1f}/{loaded[name][1]:.1f}")


def count(contestants: list[proxies.Server], folder: Path) -> dict:
    counts = {}
    print(f"\n{'per request':12}{'user instructions':>18}{'system calls':>14}")
    for server in contestants:
        counts[server.name] = {
            "instructions": measure.instructions(server, header(server), folder),
            "system_calls": measure.system_calls(server, header(server), folder),
        }
        print(f"{server.name:12}{counts[server.name]['instructions']:18.0f}"
              f"{counts[server.name]['system_calls']:14.2f}", flush=True)
    return counts


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=15)
    arguments.add_argument("--seconds", type=int, default=2)
    arguments.add_argument("--connections", type=int, default=64)
    arguments.add_argument("--no-counts", action="store_true")
    options = arguments.parse_args()

    contest = proxies.Contest()
    contestants = contest.contestants()
    print(f"machine: {machine()}; load average {os.getloadavg()[0]:.1f}")
    print(f"GET of 1 KiB, {options.connections} connections, one worker each on CPU {PROXY_CPU}; "
          f"load and origin on CPU {LOAD_CPU}")
    try:
        contest.origin.start(cpu=LOAD_CPU)
        for server in contestants:
            server.start(cpu=PROXY_CPU)
        rest = {server.name: measure.memory_mib(server.pid) for server in contestants}
        turns = time_turns(contestants, options.rounds, options.seconds, options.connections)
        loaded = {server.name: measure.memory_mib(server.pid) for server in contestants}
        for server in contestants:
            server.stop()
        print_times(turns, rest, loaded)
        print("\nCPU per request, median of the ratios within a round [95 % interval]")
        names = list(turns)
        for other in names[1:]:
            print(f"  {names[0]} / {other:9} %.3f  [%.3f, %.3f]" % ratios(turns, names[0], other))
        counts = {} if options.no_counts else count(contestants, contest.folder)
        if proxies.BINARY.exists():
            took, (resident, proportional) = start.measured(contest.folder)
            print(f"\nbearerd run to the first proxied 200, four simulated vendors: {took:.0f} ms; "
                  f"at rest then {resident:.1f} MiB RSS, {proportional:.1f} MiB PSS")
    finally:
        for server in [*contestants, contest.origin]:
            server.stop()
        shutil.rmtree(contest.folder, ignore_errors=True)
    RESULTS.mkdir(exist_ok=True)
    stamp = time.strftime("%Y%m%dT%H%M%S")
    record = {"machine": machine(), "turns": {name: [vars(t) for t in each] for name, each in turns.items()},
              "rest": rest, "loaded": loaded, "counts": counts}
    (RESULTS / f"{stamp}.json").write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
