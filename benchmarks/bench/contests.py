"""Which commands are run against each other in each data set, and their first, checked run."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from typing import TYPE_CHECKING

from bench import bounds, measure, tools
from bench.bounds import Key
from bench.tools import HERE, Tool, drift_diff, drift_scan, peers

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from bench.answers import Check
    from bench.disk import Disk
    from bench.measure import Run, Runs
    from bench.trees import Content, Trees

# What says nothing where the blank is empty, or nothing that the plain one doesn't.
NOT_FOR_B = (tools.DIFF_RQ, tools.RSYNC_CHECKSUM)
FOR_K = (tools.FIND_NEW, tools.SEND, tools.FIND_NEWER)


class Contests:
    """Runs the data sets on a disk and collects `results` and `checks`."""

    def __init__(
        self,
        disk: Disk,
        *,
        runs: int,
        caches: Sequence[str],
        only: Collection[str],
        say: Callable[[str], None],
    ) -> None:
        self.disk = disk
        self.runs = runs
        self.caches = caches
        self.only = only
        self.say = say
        self.results: dict[Key, Runs] = {}
        self.checks: dict[tuple[str, int, str], Check | None] = {}
        self.failures: list[str] = []
        # As on any machine: compiled modules are kept, output is buffered, messages are English.
        plain = {
            name: value
            for name, value in os.environ.items()
            if name not in ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED")
        }
        self._environ = {**plain, "LC_ALL": "C.UTF-8", "XDG_CONFIG_HOME": str(disk.scratch)}

    def a_and_b(self, trees: Trees, dataset: str) -> None:
        pair = trees.pairs[dataset]
        rivals = [tool for tool in peers(pair) if dataset != "B" or tool.name not in NOT_FOR_B]
        for cache in self.caches:
            self._contest(
                dataset, trees.count, cache, [drift_diff(pair), drift_scan(pair), *rivals]
            )

    def k(self, all_trees: Sequence[Trees]) -> None:
        """All N in one contest, for it is their ratio that counts."""
        for cache in self.caches:
            contenders = [
                (Key("K", trees.count, cache, tool.name), tool)
                for trees in all_trees
                for tool in (
                    drift_diff(trees.pairs["K"]),
                    *(tool for tool in peers(trees.pairs["K"]) if tool.name in FOR_K),
                )
            ]
            self._run(contenders, cache)

    def small(self, trees: Trees) -> None:
        start = Tool(bounds.PYTHON_START, (sys.executable, "-c", "pass"), self.disk.top)
        pair = trees.pairs["same"]
        self._contest("small", trees.count, "warm", [drift_scan(pair), drift_diff(pair), start])

    def nested(self, trees: Trees) -> None:
        alone, nested = trees.pairs["alone"], trees.pairs["nested"]
        self._contest(
            "nested",
            trees.count,
            "warm",
            [
                drift_scan(alone, bounds.NESTED_ALONE),
                drift_scan(nested, bounds.NESTED_SNAPSHOTS),
            ],
        )

    def content(self, made: Content) -> None:
        for cache in self.caches:
            contenders = []
            for kind in ("A", "B"):
                names = made.files[kind]
                cat = ("xargs", "-0", "-a", str(names), "cat")
                contenders += [
                    drift_diff(made.read[kind], bounds.reading(kind)),
                    drift_diff(made.shared[kind], bounds.sharing(kind)),
                    Tool(bounds.sequential(kind), cat, self.disk.top, null=True),
                ]
            self._contest("content", 0, cache, contenders)

    def inside(self, trees: Trees, part: str) -> None:
        """What only drift's own modules can tell: the shares of judging and of printing."""
        names = {
            "judging": (
                "rules",
                {"judging": bounds.JUDGING, "whole": bounds.JUDGED, "load": bounds.RULES_LOAD},
            ),
            "printing": ("output", {"with": bounds.PRINTED, "without": bounds.UNPRINTED}),
        }
        dataset, parts = names[part]
        pair = trees.pairs["B"]
        argv = (sys.executable, str(HERE / "probe.py"), part, *pair.arguments)
        output = self.disk.scratch / "output"
        # The first run warms the cache and compiles the rules.
        for turn in range(self.runs + 1):
            try:
                run = measure.run(argv, output, cwd=self.disk.top, environ=self._environ)
            except RuntimeError as error:
                self.failures.append(str(error))
                return
            said = json.loads(output.with_suffix(".err").read_text())
            for name, tool in parts.items():
                runs = self.results.setdefault(
                    Key(dataset, trees.count, "warm", tool), measure.Runs()
                )
                if turn:
                    runs.runs.append(dataclasses.replace(run, seconds=said[name], cpu=said[name]))

    def _contest(self, dataset: str, count: int, cache: str, contenders: Sequence[Tool]) -> None:
        self._run([(Key(dataset, count, cache, tool.name), tool) for tool in contenders], cache)

    def _run(self, contenders: Sequence[tuple[Key, Tool]], cache: str) -> None:
        present = []
        for key, tool in contenders:
            if self.only and tool.name not in self.only:
                continue
            if tool.missing:
                self.failures.append(f"{tool.name}: {tool.program} is not installed")
            elif self._checked(key, tool):
                present.append((key, tool))
        by_name = {f"{key.count} {key.tool}": (key, tool) for key, tool in present}

        def once(name: str, watch: bool) -> Run:
            key, tool = by_name[name]
            if cache == "cold":
                self.disk.cool()
            run = self._once(tool.argv, tool, watch=watch)
            self.say(f"{key.dataset} {key.count:,} {cache}: {key.tool} {run.seconds:.3f} s")
            return run

        measured: dict[str, Runs] = {}
        try:
            measure.measure(
                list(by_name),
                once,
                self.runs,
                first_counts=cache == "cold",
                results=measured,
            )
        finally:
            # Also of a contest that was interrupted.
            for name, runs in measured.items():
                if runs.count:
                    self.results[by_name[name][0]] = runs

    def _checked(self, key: Key, tool: Tool) -> bool:
        """Hold the answer against the truth once; False where the tool does not run at all."""
        place = (key.dataset, key.count, key.tool)
        if place in self.checks:
            return True
        try:
            self._once(tool.asked or tool.argv, tool)
            output = (self.disk.scratch / "output").read_bytes()
            self.checks[place] = None if tool.judge is None else tool.judge(output)
        except RuntimeError as error:
            self.failures.append(f"{tool.name}: {error}")
            return False
        self.say(f"{key.dataset} {key.count:,}: {key.tool}: {self.checks[place] or 'runs'}")
        return True

    def _once(self, argv: Sequence[str], tool: Tool, *, watch: bool = False) -> Run:
        return measure.run(
            argv,
            self.disk.scratch / "output",
            cwd=tool.cwd,
            environ=self._environ,
            good=tool.good,
            watch=watch,
            keep=not tool.null,
        )
