"""What figures say: medians with their intervals, and whether a bound holds."""

from collections.abc import Callable
from dataclasses import dataclass
from math import comb
from statistics import median

#: The figures of each contestant, by name; one value a round.
Figures = dict[str, dict[str, list[float]]]

BEST_PEER = ("nginx", "haproxy", "envoy", "nghttpx")


def median_interval(values: list[float]) -> tuple[float, float, float]:
    """The median, and its 95 % confidence interval by order statistics (no distribution assumed).

    With fewer than six values there is no such interval; then it is the range.
    """
    ordered = sorted(values)
    count = len(ordered)
    below, cut = 0.0, 0
    for index in range(count // 2):
        below += comb(count, index) / 2**count
        if below > 0.025:
            break
        cut = index
    return median(ordered), ordered[cut], ordered[count - 1 - cut]


def ratio(ours: float, theirs: float) -> float:
    return ours / theirs


def difference(ours: float, theirs: float) -> float:
    return ours - theirs


@dataclass(frozen=True)
class Bound:
    """What must hold of a figure of bearerd's, alone or against others in the same round."""

    figure: str
    must: float | None = None
    aim: float | None = None
    #: Who it is compared with: the best of them by this figure's median; empty for a bound that is absolute.
    against: tuple[str, ...] = BEST_PEER
    compare: Callable[[float, float], float] = ratio
    #: Whose figure it is.
    of: str = "bearerd"
    #: The highest of all rounds, in place of the median: for peaks.
    highest: bool = False
    #: `must` and `aim` are what it must reach, not what it may not exceed.
    at_least: bool = False


@dataclass(frozen=True)
class Verdict:
    """A bound beside what was measured; without a `value`, it could not be measured."""

    bound: Bound
    rival: str | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None

    def holds(self, limit: float | None) -> bool | None:
        if self.value is None or limit is None:
            return None
        return self.value >= limit if self.bound.at_least else self.value <= limit

    @property
    def word(self) -> str:
        if self.value is None:
            return "not shown"
        must = self.bound.must if self.bound.must is not None else self.bound.aim
        word = "aim" if self.holds(self.bound.aim) else "pass" if self.holds(must) else "miss"
        unsure = self.low <= must <= self.high and self.low < self.high
        return f"{word}, not certain" if unsure else word


def judge(bound: Bound, figures: Figures) -> Verdict:
    ours = figures.get(bound.of, {}).get(bound.figure)
    if not ours:
        return Verdict(bound)
    if not bound.against:
        values, rival = ours, None
    else:
        rivals = [name for name in bound.against if figures.get(name, {}).get(bound.figure)]
        if not rivals:
            return Verdict(bound)
        rival = min(rivals, key=lambda name: median(figures[name][bound.figure]))
        values = [bound.compare(a, b) for a, b in zip(ours, figures[rival][bound.figure])]
    middle, low, high = median_interval(values)
    return Verdict(bound, rival, max(values) if bound.highest else middle, low, high)
