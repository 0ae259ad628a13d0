#!/usr/bin/env python3
"""The instructions of single functions beside those in counts.json: `make bench-functions`.

A count that grew by more than one in a hundred fails; one that shrank is told. `--record` writes the
file anew: with a change that meant it, and with another compiler, whose code differs.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
TARGET = HERE.parents[1] / "target"
RECORDED = HERE / "counts.json"
TOLERATED = 0.01


def main() -> None:
    if sys.argv[1:] not in ([], ["--record"]):
        raise SystemExit(__doc__)
    counts = counted()
    recorded = json.loads(RECORDED.read_text())["counts"] if RECORDED.exists() else {}
    compiler = subprocess.run(["rustc", "--version"], check=True, capture_output=True, text=True).stdout.strip()
    if sys.argv[1:]:
        RECORDED.write_text(json.dumps({"compiler": compiler, "counts": counts}, indent=1) + "\n")
    width = max(map(len, counts))
    grown = []
    print(f"{'instructions':{width}}{'recorded':>10}{'now':>10}")
    for name, count in counts.items():
        before = recorded.get(name)
        change = count / before - 1 if before else 0.0
        grown += [name] if change > TOLERATED else []
        print(f"{name:{width}}{before if before is not None else '-':>10}{count:>10}{f'{change:+.1%}' if change else '':>9}")
    for name in recorded.keys() - counts.keys():
        print(f"{name} was recorded and is no more")
    if grown and not sys.argv[1:]:
        raise SystemExit(f"more instructions than recorded: {', '.join(grown)}")


def counted() -> dict[str, int]:
    """Runs the benchmarks; gungraun prints a line of JSON for each."""
    command = ["cargo", "bench", "--manifest-path", str(HERE / "Cargo.toml"), "--target-dir", str(TARGET / "functions"),
               "--quiet", "--bench", "functions", "--", "--output-format=json"]
    # Without the profile (../profile): a new one shall not change what is compared.
    environment = {**os.environ, "GUNGRAUN_HOME": str(TARGET / "gungraun"), "RUSTC_WRAPPER": ""}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    counts = {}
    for line in done.stdout.splitlines():
        benchmark = json.loads(line)
        metrics = benchmark["profiles"][0]["data"]["total"]["metrics"]
        counts[f"{benchmark['function_name']}: {benchmark['id']}"] = metrics["Ir"]["values"]["new"]
    return counts


if __name__ == "__main__":
    main()
