"""The tables of a run, as Markdown; no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tabulate import tabulate

from bench.bounds import MIB, NESTED_SNAPSHOTS, Key
from bench.tools import DIFF, SCAN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.answers import Check
    from bench.bounds import Outcome
    from bench.measure import Runs

OURS = {"A": DIFF, "B": SCAN, "K": DIFF, "nested": NESTED_SNAPSHOTS}


def table(results: Mapping[Key, Runs], checks: Mapping[tuple[str, int, str], Check | None]) -> str:
    """One section for each data set and cache, a row for each tool.

    `drift / it` is drift's time over the tool's, for the command that the set is about.
    """
    sections = []
    for group in dict.fromkeys((key.dataset, key.count, key.cache) for key in results):
        dataset, count, cache = group
        own = results.get(Key(dataset, count, cache, OURS.get(dataset, "")))
        rows = []
        for key, runs in results.items():
            if (key.dataset, key.count, key.cache) != group:
                continue
            answer = checks.get((dataset, count, key.tool))
            rows.append(
                [
                    key.tool,
                    seconds(runs.seconds),
                    f"{own.seconds / runs.seconds:.2f}" if own is not None else "",
                    runs.count,
                    f"{runs.spread:.2f}",
                    seconds(runs.cpu),
                    f"{runs.peak / MIB:.0f}" if runs.peak else "",
                    "" if answer is None else str(answer),
                ]
            )
        title = f"### {dataset}, {f'N = {count:,}, ' if count else ''}{cache}"
        head = ["tool", "seconds", "drift / it", "runs", "spread", "CPU s", "MiB", "answer"]
        body = tabulate(rows, head, tablefmt="pipe", disable_numparse=True, colalign=_ALIGN)
        sections.append(f"{title}\n\n{body}\n")
    return "\n".join(sections)


_ALIGN = ("left", "right", "right", "right", "right", "right", "right", "left")


def bounds_table(outcomes: Sequence[Outcome]) -> str:
    rows = []
    for outcome in outcomes:
        bound = outcome.bound
        sign = "at least" if bound.least else "at most"
        measured = "" if outcome.value is None else f"{outcome.value:.3g}{bound.unit}"
        if outcome.count and bound.wanted and outcome.count != bound.wanted:
            measured += f" (N = {outcome.count:,})"
        rows.append([bound.work, f"{sign} {bound.limit:g}{bound.unit}", measured, outcome.word])
    head = ["work", "bound", "measured", ""]
    return tabulate(rows, head, tablefmt="pipe", disable_numparse=True) + "\n"


def seconds(number: float) -> str:
    return f"{number:.3f}" if number < 1 else f"{number:.2f}" if number < 10 else f"{number:.1f}"


BEGIN = "<!-- figures: written by run.py --into -->"
END = "<!-- end of figures -->"


def filled_in(page: str, figures: str) -> str:
    """`page` with `figures` between its two marks; ValueError where it has none."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no place for figures: {BEGIN} ... {END}")
    return f"{before}{begin}\n\n{figures.strip()}\n\n{end}{after}"
