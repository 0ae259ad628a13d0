#!/usr/bin/env python3
"""Writes `bearerd.profdata`: how often each branch of bearerd is taken under load.

    bench/profile/profile.py        (20 minutes)

With it a release build (`.cargo/config.toml`, `rustc` beside this file) makes what runs often quick, and what hardly
runs small: a request takes a fifth fewer instructions. Counts belong to functions by name and shape. A function that
has changed is compiled as if nothing were known of it, and nothing else comes of it: so the profile may be old. It is
written again after larger changes of the request path, for another compiler, or for new versions of crates that are in
the request path; `make layout` belongs after it.

A bearerd that counts is put under the loads of `scenarios.py`, which weigh most, and under the soak of the tests, which
goes through everything else that a request may meet: what a profile has not seen, it takes for rare.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE.parent))

import contestants.bearerd  # noqa: E402
from contestants import MANY_ROUTES, Setup  # noqa: E402
from kinds import Bulk, Closed, Http2, Kind  # noqa: E402
from origin import BULK_TEXT_PATH, UPLOAD_PATH  # noqa: E402
from place import Place  # noqa: E402

#: Where it is built: not where the release is.
TARGET = ROOT / "target/counting"
#: What it is asked, for how many seconds.
RUNS: list[tuple[str, Setup, Kind, float]] = [
    ("bearerd", Setup(), Closed(), 8),
    ("bearerd", Setup(), Closed(connections=4), 2),
    ("bearerd", Setup(), Closed(post=4096), 4),
    ("bearerd", Setup(upstream="tls"), Closed(), 4),
    ("bearerd", Setup(upstream="closing"), Closed(connections=16), 4),
    ("bearerd", Setup(http2=True), Http2(), 6),
    ("bearerd, 1,000 routes", Setup(), Closed(scripted=MANY_ROUTES), 4),
    ("bearerd, with a login", Setup(), Closed(), 1),
    ("bearerd", Setup(path="/listing-16k"), Closed(), 1),
    ("bearerd", Setup(path="/nested-16k"), Closed(), 1),
    ("bearerd", Setup(path="/page-100k"), Closed(), 1),
    ("bearerd", Setup(path=UPLOAD_PATH), Closed(post=65536), 1),
    ("bearerd", Setup(bulk=True), Bulk(), 1),
    ("bearerd", Setup(bulk=True), Bulk(path=BULK_TEXT_PATH), 0.2),
]
SOAK_SECONDS = 30


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bearerd-profile-") as folder:
        # The wrapper of the configuration would use the profile that is to be written.
        counting = {"RUSTC_WRAPPER": "", "RUSTFLAGS": f"-Cprofile-generate={folder}"}
        run("cargo", "build", "--release", "--locked", "--bin", "bearerd", "--target-dir", TARGET, **counting)
        # What ran while it was built is of build scripts.
        shutil.rmtree(folder)
        binary = TARGET / "release/bearerd"
        counts = Path(folder) / "%p.profraw"
        os.environ["LLVM_PROFILE_FILE"] = str(counts)
        load(binary)
        run("cargo", "test", "--test", "soak", "nothing_fails", BEARERD_BINARY=binary, SOAK_SECONDS=SOAK_SECONDS)
        run(f"llvm-profdata-{version()}", "merge", "--output", HERE / "bearerd.profdata", *Path(folder).iterdir())


def load(binary: Path) -> None:
    """Puts the loads on it, one after the other."""
    contestants.bearerd.BINARY = binary
    # Confined, it could not write what it counted.
    contestants.bearerd.SERVER = 'sandbox = "off"\n'
    with Place() as place:
        for label, setup, kind, seconds in RUNS:
            server = place.contestant(label, setup)
            server.start(place.cpus_of(server))
            kind.prepare(server, place)
            kind.turn(server, place, seconds)
            server.stop()


def version() -> str:
    """Of the LLVM that is in the compiler: files of another are not understood."""
    return re.search(r"LLVM version: (\d+)", subprocess.check_output(["rustc", "-vV"], text=True))[1]


def run(*command: object, **environment: object) -> None:
    variables = {name: str(value) for name, value in environment.items()}
    subprocess.run([str(part) for part in command], check=True, cwd=ROOT, env=os.environ | variables)


if __name__ == "__main__":
    main()
