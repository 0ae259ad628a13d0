"""Where a run takes place: its CPUs, its folder, its origin."""

import os
import shutil
import tempfile
from pathlib import Path

from contestants import Setup, build
from origin import Origin
from server import Server


class Place:
    """The proxies on one CPU, the load and the origin on another.

    With four CPUs or more, a contestant with two workers has two, and the load has the rest.
    """

    def __init__(self) -> None:
        cpus = sorted(os.sched_getaffinity(0))
        if len(cpus) < 2:
            raise SystemExit("two CPUs are needed: one for the proxies, one for the load and the origin")
        self.cpus = len(cpus)
        self.proxy_cpus, self.load_cpus = (cpus[:1], set(cpus[1:])) if self.cpus < 4 else (cpus[:2], set(cpus[2:]))
        self.folder = Path(tempfile.mkdtemp(prefix="bearerd-bench-"))
        self.folder.chmod(0o755)
        self.origin = Origin(self.folder)
        self._contestants: dict[str, Path] = {}

    def __enter__(self) -> "Place":
        self.origin.start(self.load_cpus)
        os.sched_setaffinity(0, self.load_cpus)
        return self

    def __exit__(self, *_) -> None:
        self.origin.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def contestant(self, label: str, setup: Setup) -> Server:
        """Writes its configuration into a folder of its own."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        folder.chmod(0o755)
        server = build(label, setup, folder, self.origin)
        self._contestants[server.name] = folder
        return server

    def cpus_of(self, server: Server) -> set[int]:
        return set(self.proxy_cpus[: server.workers])

    def folder_of(self, server: Server) -> Path:
        return self._contestants[server.name]
