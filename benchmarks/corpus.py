"""Measure the rules against lists of paths that configurations persist.

    python benchmarks/corpus.py persisted-system.tsv persisted-home.tsv

A list is tab-separated with a header: path, configurations, as_directory, as_file. Paths of a file
whose name holds "home" are relative to a home. Each line counts once for each configuration.
"""

from __future__ import annotations

import csv
import os
import re
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from drift.model import Kind, Verdict
from drift.rulebook import load, rule_sources
from drift.rulebook.naming import read_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drift.rulebook import RuleBook

SHARED_PLACES = """
    / /etc /home /nix /opt /root /srv /tmp /var /var/cache /var/lib /var/log /var/spool /var/tmp
    ~ ~/.cache ~/.config ~/.local ~/.local/share ~/.local/state
"""
SHARED = frozenset(SHARED_PLACES.split())
"""Places of many programs, which no rule may claim; so are whole homes."""

PLACEHOLDERS = frozenset({"/etc/nix/id_rsa", "/var/keys/secret_file"})
"""Made-up names in the example of the impermanence README, which many copy as they are."""


class Line(NamedTuple):
    path: str
    configurations: int
    kind: Kind


def main(files: list[Path]) -> None:
    book = load(rule_sources((), os.environ), os.environ)
    lines = [line for file in files for line in read_lines(file) if counts(line.path)]
    total = sum(line.configurations for line in lines)
    if not total:
        sys.exit(__doc__)
    found: Counter[str] = Counter()
    other: list[tuple[Line, str]] = []
    for line in lines:
        verdict, rule = judge(book, line)
        found[verdict] += line.configurations
        if verdict != Verdict.PERSIST:
            other.append((line, f"{verdict:11}  {line.configurations:3}  {line.path}  {rule}"))
    print(f"{total} pairs of a configuration and a path, {len(lines)} paths")
    for verdict, count in found.most_common():
        print(f"{verdict:11} {count / total:7.2%}")
    for wanted in (Verdict.EPHEMERAL, Verdict.REGENERATED, Verdict.REVIEW, "none"):
        rows = [entry for entry in other if entry[1].startswith(wanted)]
        for _, text in sorted(rows, key=lambda row: (-row[0].configurations, row[0].path)):
            print(text.rstrip())


def read_lines(file: Path) -> Iterator[Line]:
    home = "home" in file.name
    with open(file, newline="", encoding="utf-8", errors="surrogateescape") as opened:
        for row in csv.DictReader(opened, delimiter="\t", quoting=csv.QUOTE_NONE):
            path = f"~/{row['path'].strip('/')}" if home else row["path"]
            directory = int(row["as_directory"]) >= int(row["as_file"])
            yield Line(
                path.rstrip("/") or "/",
                int(row["configurations"]),
                Kind.DIRECTORY if directory else Kind.FILE,
            )


def counts(path: str) -> bool:
    return not (path in SHARED or path in PLACEHOLDERS or re.fullmatch(r"/home/[^/]+|~/?", path))


def judge(book: RuleBook, line: Line) -> tuple[str, str]:
    path, _ = read_path(line.path)
    decision = book.decide(path, line.kind)
    if decision is None:
        return "none", ""
    return decision.rule.verdict.value, decision.rule.origin


if __name__ == "__main__":
    try:
        main([Path(name) for name in sys.argv[1:]])
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader (head, less) had enough; without this, the exit would flush and complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
