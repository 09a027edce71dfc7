"""The commands that are compared: drift and what people use today, each with its check."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench import answers

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.answers import Answer, Check
    from bench.plan import Truth

HERE = Path(__file__).parent
DRIFT = (sys.executable, "-m", "drift")

DIFF = "drift diff"
SCAN = "drift scan"
FIND_NEW = "find-new"
FS_DIFF = "fs-diff"
SEND = "send + dump"
FIND_NEWER = "find -newer"
WALK = "os.walk + lstat"
RSYNC = "rsync -n"
RSYNC_CHECKSUM = "rsync -n --checksum"
DIFF_RQ = "diff -rq"
SNAPPER = "snapper status"


@dataclass(frozen=True, slots=True)
class Tool:
    """A command and how its output is judged; `asked` replaces it where the judge needs another.

    `judge` is None for what gives no answer about the trees, `null` says that its output is
    nothing to keep.
    """

    name: str
    argv: tuple[str, ...]
    cwd: Path
    judge: Callable[[bytes], Check] | None = None
    asked: tuple[str, ...] = ()
    good: tuple[int, ...] = (0,)
    program: str = ""
    null: bool = False

    @property
    def missing(self) -> bool:
        return bool(self.program) and shutil.which(self.program) is None


@dataclass(frozen=True, slots=True)
class Pair:
    """Two subvolumes below `top` by name, the truth about them, and what the peers need.

    `now` is a read-only snapshot of the live one, `reference` a file as old as the blank's last
    change, `snapper` the directory with snapper's snapshots 1 and 2 and its configuration.
    """

    top: Path
    live: str
    blank: str
    truth: Truth
    now: str = ""
    reference: Path = Path()
    snapper: Path | None = None

    @property
    def arguments(self) -> tuple[str, ...]:
        return ("--live", str(self.top / self.live), "--blank", self.blank)


def drift_diff(pair: Pair, name: str = DIFF) -> Tool:
    return Tool(
        name,
        (*DRIFT, "diff", *pair.arguments),
        pair.top,
        lambda output: answers.check_exactly(pair.truth, output),
    )


def drift_scan(pair: Pair, name: str = SCAN) -> Tool:
    return Tool(
        name,
        (*DRIFT, "scan", *pair.arguments),
        pair.top,
        lambda output: answers.check_counts(pair.truth, output),
        asked=(*DRIFT, "scan", "--json", *pair.arguments),
    )


def peers(pair: Pair) -> list[Tool]:
    """All rivals; what each needs made beforehand (snapshots, a reference file) isn't counted."""
    live, blank, now = (pair.top / name for name in (pair.live, pair.blank, pair.now))
    here = shlex.quote(os.fspath(live))
    there = shlex.quote(os.fspath(blank))

    def tool(
        name: str,
        argv: tuple[str, ...],
        parse: Callable[[str], Answer],
        program: str,
        good: tuple[int, ...] = (0,),
        cwd: Path = live,
    ) -> Tool:
        def judge(output: bytes) -> Check:
            text = output.decode("utf-8", "surrogateescape")
            return answers.check(pair.truth, parse(text))

        return Tool(name, argv, cwd, judge, good=good, program=program)

    found = [
        tool(
            FIND_NEW, _shell(_FIND_NEW.format(live=here, blank=there)), answers.of_find_new, "btrfs"
        ),
        tool(FS_DIFF, _shell(_FS_DIFF.format(live=here, blank=there)), answers.of_lines, "btrfs"),
        tool(
            SEND,
            _shell(
                f"btrfs send -q --no-data -p {there} {shlex.quote(os.fspath(now))}"
                " | btrfs receive --dump"
            ),
            answers.of_send,
            "btrfs",
            # The dump leaves at the stream's end, before its writer has closed it (SIGPIPE).
            good=(0, 141),
        ),
        tool(
            FIND_NEWER,
            ("find", ".", "-xdev", "-newer", str(pair.reference)),
            answers.of_lines,
            "find",
        ),
        tool(
            WALK,
            (sys.executable, str(HERE / "tree_walk.py"), str(blank), str(live)),
            answers.of_status_lines,
            "",
        ),
        tool(RSYNC, _rsync(live, blank), answers.of_rsync, "rsync"),
        tool(RSYNC_CHECKSUM, _rsync(live, blank, "--checksum"), answers.of_rsync, "rsync"),
        tool(
            DIFF_RQ,
            ("diff", "-rq", "--no-dereference", str(blank), str(live)),
            answers.of_diff(str(blank), str(live)),
            "diff",
            good=(0, 1),
        ),
    ]
    if pair.snapper is not None:
        found.append(
            tool(
                SNAPPER,
                ("snapper", "--no-dbus", "-c", pair.live.replace("/", "-"), "status", "1..2"),
                answers.of_snapper(str(pair.snapper)),
                "snapper",
            )
        )
    return found


# The marker of the blank is asked for as all scripts do, with a generation yet to come.
_FIND_NEW = """\
marker=$(btrfs subvolume find-new {blank} 9999999)
btrfs subvolume find-new {live} "${{marker##* }}"
"""

# What circulates as fs-diff.sh: the paths that find-new names, each once, if it is a plain file.
_FS_DIFF = """\
set -eu
live={live}
marker=$(btrfs subvolume find-new {blank} 9999999)
btrfs subvolume find-new "$live" "${{marker##* }}" | sed '$d' | cut -d' ' -f17- | sort -u |
    while read -r path; do
        if [ -e "$live/$path" ] && [ ! -L "$live/$path" ] && [ ! -d "$live/$path" ]; then
            echo "/$path"
        fi
    done
"""


def _shell(script: str) -> tuple[str, ...]:
    return ("bash", "-o", "pipefail", "-c", script)


def _rsync(live: Path, blank: Path, *more: str) -> tuple[str, ...]:
    sides = (f"{live}/", f"{blank}/")
    return ("rsync", "-aHAXn", "--delete", *more, "--out-format=%i %n", *sides)
