"""What a run prints: tables that can be pasted into README.md as they are."""

from statistics import median

from scenarios import Scenario
from verdicts import Figures, Verdict, difference, judge

#: Heading and format of each figure.
FIGURES = {
    "cpu_us": ("CPU us per request", "{:.2f}"),
    "per_second": ("requests/s", "{:,.0f}"),
    "p50_ms": ("p50 ms", "{:.2f}"),
    "p99_ms": ("p99 ms", "{:.2f}"),
    "p50_us": ("p50 us", "{:.0f}"),
    "p99_us": ("p99 us", "{:.0f}"),
    "added_p50_us": ("p50 us added", "{:.0f}"),
    "added_p99_us": ("p99 us added", "{:.0f}"),
    "resumed": ("sessions resumed", "{:.1%}"),
    "cpu_ms_per_gib": ("CPU ms per GiB", "{:.0f}"),
    "gib_per_second": ("GiB/s", "{:.2f}"),
    "peak_over_idle_mib": ("peak MiB over idle", "{:.1f}"),
    "instructions": ("user instructions per request", "{:,.0f}"),
    "system_calls": ("system calls per request", "{:.2f}"),
    "rest_mib": ("MiB at rest (RSS)", "{:.1f}"),
    "rest_proportional_mib": ("(PSS)", "{:.1f}"),
    "idle_mib": ("MiB more with 1,000 idle connections", "{:.1f}"),
    "start_ms": ("ms to the first 200", "{:.1f}"),
}


def table(rows: list[list[str]]) -> str:
    """A table in Markdown, with columns of even width."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def figures_table(scenario: Scenario, figures: Figures, cannot: dict[str, str]) -> str:
    names = [name for name in FIGURES if any(name in each for each in figures.values())]
    rows = [["", *(FIGURES[name][0] for name in names)]]
    for label in scenario.contestants:
        if label in cannot:
            rows.append([label, f"cannot: {cannot[label]}", *[""] * (len(names) - 1)])
        elif label in figures:
            rows.append([label, *(middle(figures[label].get(name), FIGURES[name][1]) for name in names)])
    return table(rows)


def middle(values: list[float] | None, form: str) -> str:
    return form.format(median(values)) if values else ""


def verdicts(scenario: Scenario, figures: Figures, cpus: int) -> list[Verdict]:
    if cpus < scenario.cpus:
        return [Verdict(bound) for bound in scenario.bounds]
    return [judge(bound, figures) for bound in scenario.bounds]


def verdicts_table(scenarios: list[tuple[Scenario, list[Verdict]]]) -> str:
    rows = [["scenario", "what", "measured", "95 % interval", "must", "aim", ""]]
    for scenario, each in scenarios:
        rows += [[scenario.name, *row(verdict)] for verdict in each]
    return table(rows)


def row(verdict: Verdict) -> list[str]:
    bound = verdict.bound
    heading, form = FIGURES[bound.figure]
    rival = verdict.rival or " or ".join(bound.against)
    what = f"{bound.of}: {heading}"
    if rival:
        form = "{:+.3g}" if bound.compare is difference else "{:.3f}"
        what += f", {'more than' if bound.compare is difference else 'divided by'} {rival}'s"
    sign = "at least " if bound.at_least else "at most "

    def said(value: float | None) -> str:
        return form.format(value) if value is not None else ""

    interval = f"{said(verdict.low)} to {said(verdict.high)}" if verdict.value is not None else ""
    must, aim = (sign + said(limit) if limit is not None else "" for limit in (bound.must, bound.aim))
    return [what, said(verdict.value), interval, must, aim, verdict.word]
