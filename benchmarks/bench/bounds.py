"""What drift must reach, as a table, and whether it did; no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import tools

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bench.measure import Runs

MIB = 1024 * 1024
MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Key:
    """One measured command: `cache` is `warm` or `cold`, `count` the number of files."""

    dataset: str
    count: int
    cache: str
    tool: str


@dataclass(frozen=True, slots=True)
class Bound:
    """`measured` gives the value and the N it was measured at, or None where nothing was run.

    `least` turns the bound round: the value must be at least `limit`. `wanted` is the N that the
    bound is about, 0 where it is about none.
    """

    work: str
    limit: float
    measured: Callable[[Mapping[Key, Runs]], tuple[float, int] | None]
    least: bool = False
    unit: str = ""
    wanted: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """A bound beside what was measured: `value` None where nothing was."""

    bound: Bound
    value: float | None
    count: int

    @property
    def word(self) -> str:
        if self.value is None:
            return "not run"
        limit = self.bound.limit
        met = self.value >= limit if self.bound.least else self.value <= limit
        return "ok" if met else "MISSED"


def outcomes(results: Mapping[Key, Runs]) -> list[Outcome]:
    found = []
    for bound in BOUNDS:
        measured = bound.measured(results)
        value, count = measured if measured is not None else (None, 0)
        found.append(Outcome(bound, value, count))
    return found


def ratio(
    dataset: str, cache: str, ours: str, theirs: str
) -> Callable[[Mapping[Key, Runs]], tuple[float, int] | None]:
    """Our time over theirs, at the largest N where both were run."""

    def measured(results: Mapping[Key, Runs]) -> tuple[float, int] | None:
        for count in _counts(results, dataset, cache):
            left = results.get(Key(dataset, count, cache, ours))
            right = results.get(Key(dataset, count, cache, theirs))
            if left is not None and right is not None:
                return left.seconds / right.seconds, count
        return None

    return measured


def growth(cache: str) -> Callable[[Mapping[Key, Runs]], tuple[float, int] | None]:
    """Time of `drift diff` on K at the largest N over that at the smallest."""

    def measured(results: Mapping[Key, Runs]) -> tuple[float, int] | None:
        counts = [
            count
            for count in _counts(results, "K", cache)
            if Key("K", count, cache, tools.DIFF) in results
        ]
        if len(counts) < 2:
            return None
        most, least = (
            results[Key("K", count, cache, tools.DIFF)].seconds for count in (counts[0], counts[-1])
        )
        return most / least, counts[0]

    return measured


def value(
    dataset: str, cache: str, tool: str, of: Callable[[Runs], float]
) -> Callable[[Mapping[Key, Runs]], tuple[float, int] | None]:
    def measured(results: Mapping[Key, Runs]) -> tuple[float, int] | None:
        for count in _counts(results, dataset, cache):
            found = results.get(Key(dataset, count, cache, tool))
            if found is not None:
                return of(found), count
        return None

    return measured


def speed_of_reading(
    kind: str, cache: str
) -> Callable[[Mapping[Key, Runs]], tuple[float, int] | None]:
    """How fast drift reads, where reading the same files one after another is 1.

    What drift takes for the rest is what it takes for the same trees with shared extents.
    """

    def measured(results: Mapping[Key, Runs]) -> tuple[float, int] | None:
        found = [
            results.get(Key("content", 0, cache, tool))
            for tool in (reading(kind), sharing(kind), sequential(kind))
        ]
        if None in found:
            return None
        read, shared, once = (runs.seconds for runs in found if runs is not None)
        return once / max(read - shared, 1e-9), 0

    return measured


def bytes_a_change(
    results: Mapping[Key, Runs],
) -> tuple[float, int] | None:
    """By how much the memory of `drift diff` grows with each change, over the sizes of B."""
    found = {
        count: runs.peak
        for count in _counts(results, "B", "warm")
        if (runs := results.get(Key("B", count, "warm", tools.DIFF))) is not None and runs.peak
    }
    if len(found) < 2:
        return None
    most, least = max(found), min(found)
    return (found[most] - found[least]) / (most - least), most


def share_of_printing(results: Mapping[Key, Runs]) -> tuple[float, int] | None:
    without = ratio("output", "warm", UNPRINTED, PRINTED)(results)
    return None if without is None else (1 - without[0], without[1])


def reading(kind: str) -> str:
    return f"drift diff {kind}, all must be read"


def sharing(kind: str) -> str:
    return f"drift diff {kind}, extents are shared"


def sequential(kind: str) -> str:
    return f"cat {kind}"


def _counts(results: Mapping[Key, Runs], dataset: str, cache: str) -> list[int]:
    """The N for which something was measured, from the largest."""
    return sorted(
        {key.count for key in results if (key.dataset, key.cache) == (dataset, cache)}, reverse=True
    )


def _against(dataset: str, cache: str, ours: str, limits: Mapping[str, float]) -> tuple[Bound, ...]:
    return tuple(
        Bound(
            f"{dataset} {cache}: {ours} / {theirs}",
            limit,
            ratio(dataset, cache, ours, theirs),
            wanted=MILLION,
        )
        for theirs, limit in limits.items()
    )


NESTED_ALONE = "drift scan, the root alone"
NESTED_SNAPSHOTS = "drift scan, with 50 snapshots in it"
PYTHON_START = "python -c pass"
JUDGING = "judging alone"
JUDGED = "drift scan around it"
RULES_LOAD = "loading the compiled rules"
PRINTED = "drift diff with printing"
UNPRINTED = "drift diff without printing"

BOUNDS: tuple[Bound, ...] = (
    *_against(
        "A",
        "warm",
        tools.DIFF,
        {tools.SEND: 0.2, tools.FIND_NEWER: 0.3, tools.WALK: 0.08, tools.FIND_NEW: 2.0},
    ),
    *_against(
        "B",
        "warm",
        tools.SCAN,
        {tools.FIND_NEW: 0.6, tools.FIND_NEWER: 0.9, tools.WALK: 0.4, tools.FS_DIFF: 0.1},
    ),
    *_against("A", "cold", tools.DIFF, {tools.FIND_NEWER: 0.4, tools.SEND: 0.5}),
    *_against("B", "cold", tools.SCAN, {tools.FIND_NEWER: 0.4}),
    Bound("K warm: time, 50 times as many files", 2, growth("warm"), wanted=MILLION),
    Bound("K cold: time, 50 times as many files", 6, growth("cold"), wanted=MILLION),
    *(
        Bound(
            f"content {kind} {cache}: speed of reading / sequential read",
            0.9,
            speed_of_reading(kind, cache),
            least=True,
        )
        for cache in ("warm", "cold")
        for kind in ("A", "B")
    ),
    *(
        Bound(
            f"content {kind}: MiB read by drift where extents are shared",
            8,
            value("content", "warm", sharing(kind), lambda runs: runs.read / MIB),
            unit=" MiB",
        )
        for kind in ("A", "B")
    ),
    Bound(
        "B: memory of drift scan, all processes",
        350,
        value("B", "warm", tools.SCAN, lambda runs: runs.peak / MIB),
        unit=" MiB",
        wanted=MILLION,
    ),
    Bound(
        "B: memory of drift diff for each further change",
        256,
        bytes_a_change,
        unit=" B",
        wanted=MILLION,
    ),
    Bound(
        "nothing changed: CPU of drift scan",
        0.25,
        value("small", "warm", tools.SCAN, lambda runs: runs.cpu),
        unit=" s",
    ),
    Bound(
        "judging with all shipped rules: share of drift scan",
        0.15,
        ratio("rules", "warm", JUDGING, JUDGED),
        wanted=MILLION,
    ),
    Bound(
        "loading the compiled rules",
        0.03,
        value("rules", "warm", RULES_LOAD, lambda runs: runs.seconds),
        unit=" s",
    ),
    Bound(
        "50 snapshots in the root: drift scan / the root alone",
        1.2,
        ratio("nested", "warm", NESTED_SNAPSHOTS, NESTED_ALONE),
    ),
    Bound(
        "printing: share of drift diff on B",
        0.5,
        share_of_printing,
        wanted=MILLION,
    ),
)
