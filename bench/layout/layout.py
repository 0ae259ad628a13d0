#!/usr/bin/env python3
"""Writes `layout.ld`: which functions the linker lays side by side.

    bench/layout/layout.py target/release/bearerd

They are those that run while bearerd starts and serves. The system brings a program into memory 64 KiB at a time, and
of the 14 MiB of code a start runs 2.5: strewn over all of it they take twice the memory and a tenth of the time more.
A name that is not in a program places nothing, and one that is not listed is laid behind: so the list may be old.
"""

import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import client  # noqa: E402
import contestants.bearerd  # noqa: E402
from contestants import Setup  # noqa: E402
from place import Place  # noqa: E402

#: What is run: the usual way first.
RUNS = [("bearerd", Setup()), ("bearerd, with a login", Setup()), ("bearerd, 1,000 routes", Setup()),
        ("bearerd", Setup(upstream="tls"))]
#: Of many functions of one name only some run. Where no other compiler made them they are known by their hashes; else
#: all of that name are laid there, if those that run make up so much of their bytes.
DENSE = 0.3
#: Longer names are cut.
LONGEST = 100


def main() -> None:
    binary = Path(sys.argv[1]).resolve()
    contestants.bearerd.BINARY = binary
    sizes = {}
    for line in output("nm", "--print-size", binary).splitlines():
        match line.split():
            case [_, size, "t" | "T" | "w" | "W", symbol] if symbol.startswith("_"):
                sizes[symbol] = int(size, 16)
    ran = {symbol: None for symbol in functions(binary) if symbol in sizes}
    run, whole = Counter(), Counter()
    for symbol, size in sizes.items():
        whole[name(symbol)] += size
        run[name(symbol)] += size if symbol in ran else 0
    share = {name: run[name] / max(1, whole[name]) for name in map(name, ran)}
    exact = list(dict.fromkeys(name(symbol) if share[name(symbol)] == 1 else symbol for symbol in ran))
    rest = [name for name in share if DENSE <= share[name] < 1]
    lines = "".join(f"    *(.text.{one} .text.unlikely.{one})\n" for one in exact + rest)
    head = "/* Written by layout.py, which says why. */\n"
    (HERE / "layout.ld").write_text(
        f"{head}SECTIONS\n{{\n  .text.used :\n  {{\n{lines}  }}\n}}\nINSERT BEFORE .text;\n")
    print(f"{len(ran)} functions run, of {sum(run.values()) // 1024} KiB")


def name(symbol: str) -> str:
    """A symbol without what another compiler, or another version of a crate, changes."""
    symbol = re.sub(r"17h[0-9a-f]{16}E.*", "17h*", symbol)
    symbol = re.sub(r"Cs[0-9A-Za-z]+_", "Cs*_", symbol)
    symbol = re.sub(r"\.[0-9]+$", "*", symbol)
    return symbol if len(symbol) <= LONGEST else symbol[:LONGEST] + "*"


def functions(binary: Path) -> list[str]:
    """The functions that run: those that serve, and then those that only start."""
    serving, starting = [], []
    with Place() as place, tempfile.TemporaryDirectory() as folder:
        for number, (label, setup) in enumerate(RUNS):
            server = place.contestant(label, setup)
            out = Path(folder) / str(number)
            server.start(place.cpus_of(server), ("valgrind", "--tool=callgrind", "-q", "--demangle=no",
                         "--compress-strings=no", f"--callgrind-out-file={out}"), seconds=120)
            for profile in (starting, serving):
                connections = [client.connect(server) for _ in range(8)]
                client.exchange(server, connections, 800)
                time.sleep(2)
                subprocess.run(["callgrind_control", "-d", str(server.pid)], check=True, capture_output=True)
                time.sleep(2)
                for connection in connections:
                    connection.close()
                profile.append(max(Path(folder).glob(f"{number}.*"), key=lambda path: path.stat().st_mtime))
            server.stop()
        return [symbol for profile in serving + starting for symbol in named_in(profile, binary)]


def named_in(profile: Path, binary: Path) -> list[str]:
    """The functions of the binary that a profile has. What an earlier list has laid side by side is in a section of its
    own, of which valgrind does not know whose it is."""
    names, is_ours = [], False
    for line in profile.read_text().splitlines():
        if line.startswith("ob="):
            is_ours = line in (f"ob={binary}", "ob=???")
        elif line.startswith("fn=") and is_ours:
            names.append(line[3:].split("'")[0])
    return sorted(set(names))


def output(*command: object) -> str:
    return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
