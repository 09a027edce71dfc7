"""`drift explain`: which rule decides about a path."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from drift.commands import completion, options

if TYPE_CHECKING:
    from drift.rulebook import Decision, RuleBook


@click.command(
    epilog="""\b
Examples:
  drift explain /etc/machine-id ~/.ssh
  drift explain --json .config/foo/ /var/lib/foo
  find /var/lib -maxdepth 1 | drift explain --json -
"""
)
@click.argument(
    "paths", nargs=-1, required=True, metavar="PATH...", shell_complete=completion.files
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@options.rules
@click.option(
    "--live",
    type=options.BytesPath(directory=True),
    default=b"/",
    metavar="PATH",
    help="The root whose units and users count, wherever it is mounted.  [default: /]",
)
def explain(
    paths: tuple[str, ...], as_json: bool, rule_paths: tuple[str, ...], live: bytes
) -> None:
    """Tell which rule decides about each PATH, and why.

    A relative PATH or one that starts with ~/ is below a user's home. A slash at the end says
    that PATH is a directory. With - the paths are read from stdin, one a line. No root and no
    Btrfs is needed, and the path need not exist. On NixOS, what units say counts below the rules.
    """
    from drift.reviewing.rules import expired_notes, with_reviewed_of
    from drift.rulebook import load, rule_sources
    from drift.rulebook.book import DEFAULT_HOMES
    from drift.rulebook.naming import read_path

    book = load(rule_sources(rule_paths, os.environ), os.environ)
    homes = {*DEFAULT_HOMES, os.fsencode(os.environ.get("HOME", ""))}
    root = os.path.realpath(live)
    book = with_reviewed_of(book, root)
    options.report_notes(expired_notes(book.expired))
    book = _with_units(book, root)
    answers = []
    for text in _read_paths(paths):
        path, kind = read_path(text)
        decision = book.decide(path, kind, homes)
        answers.append(_as_json(text, decision) if as_json else _as_text(text, decision))
    click.echo("".join(answers), nl=False)


def _with_units(book: RuleBook, root: bytes) -> RuleBook:
    """`book` with what the units of a NixOS root say; elsewhere they are another system's."""
    from drift.system.etc_trees import find_etc_trees
    from drift.system.rooted import Rooted

    if find_etc_trees(Rooted(root)).running is None:
        return book
    from drift.system.accounts import read_accounts
    from drift.unit_rules import unit_rules, with_unit_rules

    return with_unit_rules(book, unit_rules(root, read_accounts(root), os.environ).rules)


def _read_paths(given: tuple[str, ...]) -> list[str]:
    from drift.errors import UsageError

    paths = []
    for path in given:
        if path == "-":
            lines = sys.stdin.buffer.read().split(b"\n")
            paths += [os.fsdecode(line) for line in lines if line]
        elif path:
            paths.append(path)
        else:
            raise UsageError("An empty PATH names nothing", "give / for the root")
    return paths


def _as_json(text: str, decision: Decision | None) -> str:
    import json

    rule = decision.rule if decision else None
    answer = {
        "path": text,
        "service": rule and rule.service,
        "verdict": rule and rule.verdict.value,
        "severity": rule and rule.severity.value,
        "why": rule and rule.why,
        "rule": rule and rule.origin,
    }
    return json.dumps(answer) + "\n"


def _as_text(text: str, decision: Decision | None) -> str:
    from drift.names import printable

    if decision is None:
        return f"{printable(text)}\n  no rule: drift scan asks you to review it\n"
    rule = decision.rule
    service = rule.service if rule.title == rule.service else f"{rule.service}, {rule.title}"
    lines = [
        text,
        f"  {rule.verdict} ({rule.severity}): {service}",
        f"  {rule.why}",
        f"  {rule.origin}: {rule.kind} {rule.pattern}",
    ]
    if rule.advice:
        lines.append(f"  advice: {rule.advice}")
    return "".join(f"{printable(line)}\n" for line in lines)
