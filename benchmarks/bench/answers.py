"""What each tool's output says has changed, and how far that is from the truth; no I/O.

A tool is held to what it names, not to the words it uses for it: a path counts as found if its
output leads the reader there. Paths begin with a slash, at the live root.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.plan import Truth


@dataclass(slots=True)
class Answer:
    """The paths that a tool names; all below the paths in `whole` is named with them."""

    paths: set[str] = field(default_factory=set)
    whole: set[str] = field(default_factory=set)

    def names(self, path: str) -> bool:
        if path in self.paths:
            return True
        while path and self.whole:
            if path in self.whole:
                return True
            path = path.rpartition("/")[0]
        return False


@dataclass(frozen=True, slots=True)
class Check:
    """How many of `total` differences were missed, and how many paths named that do not differ."""

    total: int
    missed: int
    wrong: int

    @property
    def exact(self) -> bool:
        return not self.missed and not self.wrong

    def __str__(self) -> str:
        if self.exact:
            return "right"
        said = []
        if self.missed:
            said.append(f"missed {self.missed:,} of {self.total:,}")
        if self.wrong:
            said.append(f"{self.wrong:,} wrong")
        return ", ".join(said)


def check(truth: Truth, answer: Answer) -> Check:
    missed = sum(not answer.names(path) for path in truth.paths)
    named = answer.paths | answer.whole
    wrong = sum(path not in truth.paths and path not in truth.times for path in named - {"", "/"})
    return Check(len(truth.paths), missed, wrong)


def check_exactly(truth: Truth, output: bytes) -> Check:
    """Hold `drift diff` to every byte: statuses, both names of a rename, and the order."""
    if output == truth.text():
        return Check(len(truth.lines), 0, 0)
    said = output.decode("utf-8", "surrogateescape").splitlines()
    found = set(said)
    disorder = len(said) - len(found) or int(found == truth.lines)
    return Check(len(truth.lines), len(truth.lines - found), len(found - truth.lines) + disorder)


def check_counts(truth: Truth, output: bytes) -> Check:
    """Hold `drift scan --json` to the number of changes, which its verdicts must add up to.

    A scan does not read what is safe to lose anyway, so a file that was written again with the same
    bytes may count as changed.
    """
    report = json.loads(output)
    counts = dict(report["counts"])
    changed = counts.pop("changed")
    least = len(truth.lines)
    missed = max(0, least - changed) + len(report["skipped"])
    wrong = max(0, changed - least - truth.rewritten) + abs(changed - sum(counts.values()))
    return Check(least, missed, wrong)


def of_lines(output: str) -> Answer:
    """One path a line: fs-diff, find (whose paths may begin with a dot)."""
    return Answer({"/" + line.removeprefix(".").lstrip("/") for line in output.splitlines()})


def of_find_new(output: str) -> Answer:
    lines = (line.split(" ", 16) for line in output.splitlines())
    return Answer({"/" + line[16] for line in lines if len(line) == 17})


def of_status_lines(output: str) -> Answer:
    """A word, a tab, a path: the comparison in Python."""
    return Answer({line.partition("\t")[2] for line in output.splitlines()})


def of_rsync(output: str) -> Answer:
    """Lines of `--out-format='%i %n'`: eleven signs that say what differs, then the path."""
    answer = Answer()
    for line in output.splitlines():
        signs, _, name = line.partition(" ")
        path = "/" + name.strip().rstrip("/")
        if signs == "*deleting":
            answer.paths.add("/" + name.lstrip().rstrip("/"))
        elif len(signs) == 11 and (signs[1] != "d" or set(signs[2:]) - set(".t")):
            answer.paths.add(path)
    return answer


def of_diff(blank: str, live: str) -> Callable[[str], Answer]:
    """What `diff -rq BLANK LIVE` prints: it names a new or lost directory without its entries."""

    def inside(path: str) -> str:
        for root in (live, blank):
            if path == root or path.startswith(root + "/"):
                return path.removeprefix(root)
        raise ValueError(path)

    only = re.compile(r"Only in (.*?): (.*)")
    differ = re.compile(r"(?:Files|Symbolic links) (.*) and (.*) differ")
    kinds = re.compile(r"File (.*) is an? [a-z -]+ while file (.*) is an? [a-z -]+")

    def parse(output: str) -> Answer:
        answer = Answer()
        for line in output.splitlines():
            if found := only.fullmatch(line):
                answer.whole.add(f"{inside(found[1])}/{found[2]}")
            elif found := differ.fullmatch(line) or kinds.fullmatch(line):
                answer.paths.add(inside(found[2]))
        return answer

    return parse


def of_snapper(root: str) -> Callable[[str], Answer]:
    def parse(output: str) -> Answer:
        answer = Answer()
        for line in output.splitlines():
            _, _, path = line.partition(" ")
            answer.paths.add(path.removeprefix(root))
        return answer

    return parse


# A name that `btrfs send` gives while the final one isn't free: inode, generation, number.
_ORPHAN = re.compile(r"o\d+-\d+-\d+")


def of_send(output: str) -> Answer:
    """What `btrfs receive --dump` prints: operations whose paths hold as they are carried out.

    Times alone are no difference; a renamed directory leads to all below it.
    """
    answer = Answer()
    # What stands under a temporary name, and was or will be elsewhere.
    real: dict[str, str] = {}

    def resolve(path: str) -> str:
        first, slash, rest = path.partition("/")
        if _ORPHAN.fullmatch(first):
            return real[first] + slash + rest if first in real else ""
        return "/" + path

    for line in output.splitlines():
        operation, _, rest = line.partition(" ")
        fields = re.split(r"(?<!\\) +", rest.strip())
        path = _unescaped(fields[0]).removeprefix("./").partition("/")[2]
        details = dict(each.partition("=")[::2] for each in fields[1:])
        if operation in ("utimes", "snapshot", "subvol") or not path:
            continue
        here = resolve(path)
        if operation == "rename":
            dest = _unescaped(details["dest"]).removeprefix("./").partition("/")[2]
            if _ORPHAN.fullmatch(dest):
                real[dest] = here
                answer.paths.add(here)
                continue
            there = resolve(dest)
            answer.paths.add(there)
            if here:
                answer.whole.update((here, there))
            elif _ORPHAN.fullmatch(path):
                real[path] = there
        else:
            answer.paths.add(here)
    answer.paths.discard("")
    answer.whole.discard("")
    return answer


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)
