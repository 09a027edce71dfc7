"""Tell from inside drift what its parts cost, which no command shows; one JSON object.

    python probe.py judging|printing --live LIVE --blank BLANK

`judging`: how long the rules took to load, all judging, and the whole scan, in seconds.
`printing`: how long the whole diff took with all its lines written to stdout, and without.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from drift import pipeline, rulebook
from drift.judge import Judge

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def judging(live: bytes, blank: bytes) -> dict[str, float]:
    clock = time.perf_counter
    spent = {"load": 0.0, "judging": 0.0}
    load = rulebook.load

    def timed_load(*arguments: Any) -> Any:
        started = clock()
        book = load(*arguments)
        spent["load"] += clock() - started
        return book

    class TimedJudge(Judge):
        def feed(self, item: Any) -> None:
            started = clock()
            super().feed(item)
            spent["judging"] += clock() - started

        def entries(self) -> Any:
            started = clock()
            found = super().entries()
            spent["judging"] += clock() - started
            return found

    vars(rulebook)["load"] = timed_load
    vars(pipeline)["Judge"] = TimedJudge
    started = clock()
    pipeline.scan(pipeline.Request(live, blank, explicit_live=True), os.environ)
    return {**spent, "whole": clock() - started}


def printing(live: bytes, blank: bytes) -> dict[str, float]:
    from drift.commands.diff import diff
    from drift.render import diff as render

    as_text = render.as_text

    def drained(stream: Iterable[Any]) -> Iterator[str]:
        for _ in stream:
            pass
        yield ""

    spent = {}
    for name, renderer in (("without", drained), ("with", as_text)):
        vars(render)["as_text"] = renderer
        started = time.perf_counter()
        diff.main(
            ["-q", "--live", os.fsdecode(live), "--blank", os.fsdecode(blank)],
            standalone_mode=False,
        )
        spent[name] = time.perf_counter() - started
    return spent


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=["judging", "printing"])
    parser.add_argument("--live", type=os.fsencode, required=True)
    parser.add_argument("--blank", type=os.fsencode, required=True)
    chosen = parser.parse_args()
    found = {"judging": judging, "printing": printing}[chosen.part](chosen.live, chosen.blank)
    print(json.dumps(found), file=sys.stderr)


if __name__ == "__main__":
    main()
