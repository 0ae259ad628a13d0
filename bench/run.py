#!/usr/bin/env python3
"""bearerd beside nginx, HAProxy, Envoy and nghttpx, in one run: `make bench`.

One run of one proxy after the other cannot tell 4 % apart on a shared machine. So the proxies stay up
side by side and take short turns, in an order that changes from round to round; each is compared with
bearerd's turn of the same round, and the median of these ratios is told with its 95 % interval.
Instructions and system calls are counted beside the times: noise does not touch them.

Writes nothing but bench/results/ (ignored by git).
"""

import argparse
import json
import os
import platform
import signal
import sys
import time
from pathlib import Path

import contestants.bearerd
import proof
import report
from place import Place
from scenarios import SCENARIOS, Scenario
from server import Failed, Server
from verdicts import Figures

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by a signal"))  # so that the servers are stopped
    chosen = [scenario for scenario in SCENARIOS if not options.scenarios or scenario.name in options.scenarios]
    print(f"{machine()}; load average {os.getloadavg()[0]:.1f}\n")
    record, judged = {"machine": machine(), "scenarios": {}}, []
    RESULTS.mkdir(exist_ok=True)
    results = RESULTS / f"{time.strftime('%Y%m%dT%H%M%S')}.json"
    with Place() as place:
        proof.origin_refuses(place.origin)
        for scenario in chosen:
            # What is counted needs no second round.
            rounds = options.rounds if options.rounds and scenario.rounds > 1 else scenario.rounds
            figures, cannot = run(scenario, place, rounds, options.seconds)
            verdicts = report.verdicts(scenario, figures, place.cpus)
            judged.append((scenario, verdicts))
            print(f"\n### {scenario.title}\n\n{report.figures_table(scenario, figures, cannot)}\n")
            print(report.verdicts_table([judged[-1]]), flush=True)
            print(f"\n{scenario.note}\n" if scenario.note else "")
            record["scenarios"][scenario.name] = {"figures": figures, "cannot": cannot}
            results.write_text(json.dumps(record, indent=1))
    print(f"### All\n\n{report.verdicts_table(judged)}")


def arguments() -> argparse.Namespace:
    names = [scenario.name for scenario in SCENARIOS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"any of: {', '.join(names)} (default: all)")
    parser.add_argument("--rounds", type=int, help="rounds of each scenario (default: its own number)")
    parser.add_argument("--seconds", type=float, default=1.0, help="how long a turn takes (default: 1)")
    parser.add_argument("--binary", type=Path, help="the bearerd to measure (default: $BEARERD_BINARY, or the release)")
    options = parser.parse_args()
    if unknown := set(options.scenarios) - set(names):
        parser.error(f"no such scenario: {', '.join(unknown)}; there are {', '.join(names)}")
    if options.binary:
        contestants.bearerd.BINARY = options.binary.resolve()
    if not contestants.bearerd.BINARY.exists():
        parser.error(f"there is no {contestants.bearerd.BINARY}: cargo build --release, or --binary PATH")
    return options


def machine() -> str:
    cpu = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")), platform.processor())
    return f"{cpu}, {os.cpu_count()} CPUs, Linux {platform.release()}"


def run(scenario: Scenario, place: Place, rounds: int, seconds: float) -> tuple[Figures, dict[str, str]]:
    """All rounds of a scenario, and why some contestants take no part."""
    servers = [place.contestant(label, scenario.setup) for label in scenario.contestants]
    cannot: dict[str, str] = {}
    try:
        for server in servers:
            try:
                server.start(place.cpus_of(server))
                proof.injects(server, scenario.setup)
                scenario.kind.prepare(server, place)
            except Failed as failed:
                cannot[server.name] = str(failed)
            if server.name in cannot or not scenario.kind.side_by_side:
                server.stop()
        able = [server for server in servers if server.name not in cannot]
        figures = turns(scenario, able, place, rounds, seconds)
        return added(figures, scenario.baseline) if scenario.baseline in figures else figures, cannot
    finally:
        for server in servers:
            server.stop()


def turns(scenario: Scenario, servers: list[Server], place: Place, rounds: int, seconds: float) -> Figures:
    """Each round is a turn of each, in an order that starts elsewhere and is reversed from round to round."""
    figures: Figures = {server.name: {} for server in servers}
    if scenario.kind.side_by_side:
        for server in servers:  # warm, not counted
            scenario.kind.turn(server, place, seconds)
    for number in range(rounds):
        shift = number // 2 % len(servers) if servers else 0
        order = servers[shift:] + servers[:shift]
        for server in order if number % 2 == 0 else reversed(order):
            for name, value in scenario.kind.turn(server, place, seconds).items():
                figures[server.name].setdefault(name, []).append(value)
        progress(f"{scenario.name}: round {number + 1} of {rounds}")
    progress("")
    return figures


def added(figures: Figures, baseline: str) -> Figures:
    """Also what each adds to the baseline in the same round."""
    base = figures[baseline]
    return {
        label: each if label == baseline else each | {
            f"added_{name}": [value - before for value, before in zip(each[name], base[name])] for name in each}
        for label, each in figures.items()
    }


def progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
