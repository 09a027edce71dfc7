"""No history makes drift miss or invent a change: every engine says what the oracle says.

`--histories N` plays the seeds 0 to N-1 (`--history-start` shifts them), `--history-seed S` plays
one again. A failing history is cut down to the steps that matter before it is shown.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import oracle
import pytest
from operations import OPERATIONS

if TYPE_CHECKING:
    from histories import Histories, Scenario

pytestmark = [pytest.mark.btrfs, pytest.mark.histories]

# The engines come first: what the oracle reads must not be what makes a change visible to them.
ENGINES = ("auto", "metadata", "walk")
SECONDS_TO_SHORTEN = 40


def test_every_engine_says_what_the_oracle_says(histories: Histories, history_seed: int) -> None:
    check(histories, history_seed)


def test_histories_repeat_themselves(histories: Histories) -> None:
    def told() -> list[object]:
        with histories.play(1234) as scenario:
            rows = oracle.expected(scenario.live, scenario.blank)
            return [scenario.description, [row[:5] for row in rows]]

    assert told() == told()


def test_there_are_more_than_forty_kinds_of_operations() -> None:
    assert len(OPERATIONS) >= 40


def check(histories: Histories, seed: int) -> None:
    with histories.play(seed) as scenario:
        wrong = disagreements(scenario)
    if wrong:
        pytest.fail(_shortened(histories, seed), pytrace=False)


def disagreements(scenario: Scenario) -> list[str]:
    """Say where an engine differs from the oracle, or the oracle from itself, a line for each."""
    live, blank = scenario.live, scenario.blank
    runs = [(engine, live, blank) for engine in ENGINES]
    if blank is not None:
        runs.append(("auto, the other way round", blank, live))
    engines = pytest.importorskip("engines")
    found = {}
    lines = []
    for name, one, other in runs:
        try:
            found[name] = engines.diff(one, other, name.partition(",")[0])
        except Exception as error:  # noqa: BLE001
            lines.append(f"{name}: {type(error).__name__}: {error}")
    rows = {pair: oracle.expected(*pair) for pair in {run[1:] for run in runs}}
    if blank is not None:
        backwards = [row[:4] for row in rows[blank, live]]
        if oracle.mirrored(rows[live, blank]) != backwards:
            lines.append(f"oracle: the mirror of {rows[live, blank]} is not {backwards}")
    for name, one, other in runs:
        if name in found:
            wrong = oracle.disagreements(rows[one, other], found[name])
            lines += [f"{name}: {line}" for line in wrong]
    return lines


def _shortened(histories: Histories, seed: int) -> str:
    """Leave out steps as long as the history stays wrong; tell what remains."""
    deadline = time.monotonic() + SECONDS_TO_SHORTEN
    without: set[int] = set()
    text, steps = _told(histories, seed, without)
    if not text:
        return f"history {seed} was wrong, but not when it was played again"
    size = max(1, steps // 2)
    while True:
        for first in range(1, steps + 1, size):
            left_out = set(range(first, min(first + size, steps + 1))) - without
            if left_out and time.monotonic() < deadline:
                shorter, _ = _told(histories, seed, without | left_out)
                if shorter:
                    text, without = shorter, without | left_out
        if size == 1 or time.monotonic() > deadline:
            return text
        size = max(1, size // 2)


def _told(histories: Histories, seed: int, without: set[int]) -> tuple[str, int]:
    """Play a history without some steps; return what is wrong, if anything, and its length."""
    with histories.play(seed, without) as scenario:
        wrong = disagreements(scenario)
        if not wrong:
            return "", scenario.steps
        shown = wrong[:40] + [f"... and {len(wrong) - 40} more"] * (len(wrong) > 40)
        lines = [
            f"history {seed}: {scenario.lineage}, on {scenario.variant}",
            f"left out {len(without)} of {scenario.steps} steps",
            f"live {scenario.live_name!r}, blank {scenario.blank_name!r}",
            *(f"  {line}" for line in scenario.description),
            *shown,
            f"to play it again: pytest tests/test_histories.py --history-seed {seed}",
        ]
        return "\n".join(lines), scenario.steps
