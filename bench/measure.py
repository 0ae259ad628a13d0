"""What a process tree has used: CPU time and memory."""

import re
import time
from pathlib import Path


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


def resident_mib(pid: int) -> float:
    """Resident memory of a process tree, shared pages counted in full."""
    return _kib(pid, "smaps_rollup", "Rss") / 1024


def proportional_mib(pid: int) -> float:
    """Memory of a process tree, shared pages divided among those that share them."""
    return _kib(pid, "smaps_rollup", "Pss") / 1024


def peak_mib(pid: int) -> float:
    """The highest resident memory since the start, or since `forget_peak`."""
    return _kib(pid, "status", "VmHWM") / 1024


def forget_peak(pid: int) -> None:
    for one in tree(pid):
        Path(f"/proc/{one}/clear_refs").write_text("5")


def _kib(pid: int, file: str, field: str) -> int:
    texts = (Path(f"/proc/{one}/{file}").read_text() for one in tree(pid))
    return sum(int(re.search(rf"^{field}:\s+(\d+)", text, re.M)[1]) for text in texts)
