"""Measure drift against what people use, on data whose truth is known; print the tables.

    python benchmarks/run.py                                   # everything: half an hour and more
    python benchmarks/run.py --sizes 20000,200000 --sets A,B --no-cold

Needs root, for it makes a Btrfs filesystem on a loop device. Nothing of it stays behind, however
it ends. The tables go to stdout as Markdown, what is going on to stderr.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from bench.bounds import outcomes
from bench.contests import Contests
from bench.disk import Disk, enter_private_mounts, hide_rules_cache, storage
from bench.report import bounds_table, filled_in, table
from bench.tools import DRIFT
from bench.trees import Trees, configure_snapper, make_content, make_trees

SETS = ("A", "B", "K", "content", "small", "nested", "rules", "output")
SIZES = (20_000, 200_000, 1_000_000)
GIB = 1 << 30


def main() -> int:
    arguments = parse(sys.argv[1:])
    if os.geteuid() != 0:
        print("benchmarks: needs root, for it mounts a filesystem of its own", file=sys.stderr)
        return 3
    enter_private_mounts()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    started = time.monotonic()

    def say(text: str) -> None:
        if not arguments.quiet:
            print(f"{time.monotonic() - started:7.1f}  {text}", file=sys.stderr, flush=True)

    sets = set(arguments.sets)
    caches = [cache for cache in ("warm", "cold") if getattr(arguments, cache)]
    room = 2 * GIB + sum(arguments.sizes) * 4096
    free = shutil.disk_usage(arguments.directory).free
    if free < room:
        print(
            f"benchmarks: {arguments.directory} has {free / GIB:.1f} GiB free,"
            f" {room / GIB:.1f} may be needed: choose fewer --sizes or another --directory",
            file=sys.stderr,
        )
        return 3
    with Disk(arguments.directory, max(16 * GIB, 2 * room)) as disk:
        hide_rules_cache()
        contests = Contests(disk, runs=arguments.runs, caches=caches, only=arguments.tools, say=say)
        all_trees = []
        for count in sorted(arguments.sizes) if sets - {"content"} else ():
            begun = time.monotonic()
            smallest = count == min(arguments.sizes)
            needed = sets if smallest else sets - {"nested", "small"}
            all_trees.append(make_trees(disk, count, needed))
            say(f"built the trees of {count:,} files in {time.monotonic() - begun:.1f} s")
        compared = [
            pair for trees in all_trees for pair in trees.pairs.values() if pair.snapper is not None
        ]
        if compared and shutil.which("snapper") is not None:
            configure_snapper(disk, compared)
        try:
            compete(disk, contests, all_trees, sets)
        except KeyboardInterrupt:
            say("stopped; what was measured so far:")
        profiles = [profile(disk, trees, arguments.profile) for trees in all_trees[-1:]]
        figures = [
            machine(arguments.directory, arguments.runs),
            "### Bounds\n",
            bounds_table(outcomes(contests.results)),
            *(f"- not measured: {failure}" for failure in dict.fromkeys(contests.failures)),
            table(contests.results, contests.checks),
            *profiles,
        ]
        text = "\n".join(figures)
        print(text, flush=True)
        if arguments.into is not None:
            arguments.into.write_text(filled_in(arguments.into.read_text(), text))
    return 0


def compete(disk: Disk, contests: Contests, all_trees: list[Trees], sets: set[str]) -> None:
    for trees in all_trees:
        for dataset in ("A", "B"):
            if dataset in sets:
                contests.a_and_b(trees, dataset)
        if "rules" in sets:
            contests.inside(trees, "judging")
        if "output" in sets:
            contests.inside(trees, "printing")
    if all_trees and "small" in sets:
        contests.small(all_trees[0])
    if all_trees and "nested" in sets:
        contests.nested(all_trees[0])
    if k := [trees for trees in all_trees if "K" in trees.pairs]:
        contests.k(k)
    if "content" in sets:
        contests.content(make_content(disk))


def profile(disk: Disk, trees: Trees, lines: int) -> str:
    """The top lines of cProfile for `drift diff` on A and `drift scan` on B, by own time."""
    if not lines:
        return ""
    said = []
    for dataset, command in (("A", "diff"), ("B", "scan")):
        if dataset in trees.pairs:
            arguments = trees.pairs[dataset].arguments
            stats = disk.scratch / "profile"
            argv = [
                DRIFT[0],
                "-m",
                "cProfile",
                "-o",
                str(stats),
                "-m",
                "drift",
                command,
                *arguments,
            ]
            # Else drift ends without a word to the profiler.
            environ = {**os.environ, "DRIFT_DEBUG": "1"}
            subprocess.run(argv, check=False, stdout=subprocess.DEVNULL, env=environ)
            show = f"import pstats; pstats.Stats({str(stats)!r}).sort_stats('tottime').print_stats({lines})"
            shown = subprocess.run(
                [DRIFT[0], "-c", show], check=True, capture_output=True, text=True
            )
            said.append(f"\nProfile of `drift {command}`, {dataset}, N = {trees.count:,}\n")
            said.append(f"\n```\n{shown.stdout.strip()}\n```\n")
    return "".join(said)


def machine(directory: Path, runs: int) -> str:
    """What the figures were measured on."""
    model = "a processor that does not say its name"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    kind = storage(directory)
    note = "; an image in memory is never really cold" if kind == "tmpfs" else ""
    return (
        f"Linux {platform.release()}, Python {platform.python_version()}, {os.cpu_count()} cores"
        f" ({model}), {memory:.0f} GiB; Btrfs on a loop device, its image on {kind}{note}."
        f" Medians of {runs} runs, fewer where `runs` says so.\n"
    )


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flag = argparse.BooleanOptionalAction
    parser.add_argument("--sizes", type=_numbers, default=list(SIZES), metavar="N,N")
    parser.add_argument("--sets", type=_sets, default=list(SETS), metavar=",".join(SETS))
    parser.add_argument(
        "--tools",
        type=lambda text: text.split(","),
        default=[],
        metavar="NAME,NAME",
        help="only these, as the tables call them",
    )
    parser.add_argument("--runs", type=int, default=5, help="how often each command is run")
    parser.add_argument("--warm", action=flag, default=True, help="measure with a warm cache")
    parser.add_argument("--cold", action=flag, default=True, help="measure with a cold cache")
    parser.add_argument(
        "--directory",
        type=Path,
        default=Path(os.environ.get("TMPDIR", "/var/tmp")),
        help="where the image is kept; cold figures need a disk  [default: $TMPDIR or /var/tmp]",
    )
    parser.add_argument(
        "--into", type=Path, metavar="FILE", help="also write the tables between the marks of FILE"
    )
    parser.add_argument(
        "--profile", type=int, default=0, metavar="LINES", help="also show cProfile's top lines"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing on stderr")
    return parser.parse_args(argv)


def _numbers(text: str) -> list[int]:
    return [int(part.replace("_", "")) for part in text.split(",")]


def _sets(text: str) -> list[str]:
    chosen = text.split(",")
    if unknown := set(chosen) - set(SETS):
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}")
    return chosen


if __name__ == "__main__":
    sys.exit(main())
