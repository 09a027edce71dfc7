"""`drift rules`: list, check and show the rules."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from drift.commands import completion, options

if TYPE_CHECKING:
    from collections.abc import Iterable

    from drift.rulebook import Rule, RuleBook

_json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object a rule.")


@click.group(
    epilog="""\b
Example:
  drift rules show openssh
"""
)
def rules() -> None:
    """List, check and show the rules that decide about paths."""


@rules.command(
    "list",
    epilog="""\b
Examples:
  drift rules list | less
  drift rules list --json | jq -r .pattern
""",
)
@_json_option
@options.rules
def list_rules(as_json: bool, rule_paths: tuple[str, ...]) -> None:
    """List the services and programs that have rules, and how many."""
    from tabulate import tabulate

    from drift.names import printable

    book = _load(rule_paths)
    if as_json:
        click.echo(_as_json(book.rules), nl=False)
        return
    counts: dict[tuple[str, str, str], int] = {}
    for rule in book.rules:
        subject = (rule.service, rule.title, rule.origin.rpartition(":")[0])
        counts[subject] = counts.get(subject, 0) + 1
    rows = [
        (printable(service), printable(title), count, printable(file))
        for (service, title, file), count in sorted(
            counts.items(), key=lambda item: (item[0][0].casefold(), item[0])
        )
    ]
    headers = ("service", "what it is", "rules", "file")
    click.echo(tabulate(rows, headers, tablefmt="plain", disable_numparse=True))


@rules.command(
    epilog="""\b
Examples:
  drift rules show openssh
  drift rules show NetworkManager --json
"""
)
@click.argument("name", shell_complete=completion.rule_names)
@_json_option
@options.rules
def show(name: str, as_json: bool, rule_paths: tuple[str, ...]) -> None:
    """Show the rules of the service, program or rule file NAME."""
    from drift.errors import UsageError
    from drift.names import printable

    found: dict[str, list[Rule]] = {}
    for rule in _load(rule_paths).rules:
        stem = Path(rule.origin.rpartition(":")[0]).stem
        for key in {rule.service.casefold(), stem.casefold()}:
            found.setdefault(key, []).append(rule)
    chosen = found.get(name.casefold().removesuffix(".toml"))
    if chosen is None:
        from difflib import get_close_matches

        near = get_close_matches(name.casefold(), found, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "drift rules list names them all"
        raise UsageError(f"No rules for {printable(name)}", hint)
    click.echo(_as_json(chosen) if as_json else _as_text(chosen), nl=False)


@rules.command(
    epilog="""\b
Example:
  drift rules check ~/.config/drift/rules.d/*.toml
"""
)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
def check(files: tuple[Path, ...]) -> None:
    """Check rule FILEs: report every fault, and try their examples.

    The examples are tried with the shipped rules below, as they would be in use. A directory
    stands for the rule files in it.
    """
    from drift.reviewing.rules import expired_notes
    from drift.rulebook import Layer, RuleFilesError, load, shipped_directory
    from drift.rulebook.checking import example_faults, repeated_patterns

    given = [(Layer.GIVEN, path) for path in files]
    sound = load(given)
    checked = (*sound.rules, *sound.expired)
    try:
        book = load([(Layer.SHIPPED, shipped_directory()), *given], os.environ)
    except RuleFilesError:
        # The files alone are sound; what is wrong with others is not asked here.
        book = load(given)
    faults = repeated_patterns(checked) + example_faults(sound.rules, book)
    if faults:
        raise RuleFilesError(faults)
    if not checked:
        from drift.errors import UsageError

        raise UsageError("No rule files there", "name .toml files, or a directory that holds them")
    options.report_notes(expired_notes(sound.expired))
    count = len({rule.origin.rpartition(":")[0] for rule in checked})
    click.echo(
        f"{count} file{'s' * (count != 1)}, {len(checked)} rule{'s' * (len(checked) != 1)}: no fault"
    )


def _load(rule_paths: tuple[str, ...]) -> RuleBook:
    from drift.reviewing.rules import expired_notes, with_reviewed_of
    from drift.rulebook import load, rule_sources

    book = load(rule_sources(rule_paths, os.environ), os.environ)
    book = with_reviewed_of(book, b"/")
    options.report_notes(expired_notes(book.expired))
    return book


def _as_json(chosen: Iterable[Rule]) -> str:
    import json

    return "".join(json.dumps(_fields(rule)) + "\n" for rule in chosen)


def _fields(rule: Rule) -> dict[str, Any]:
    """The rule's keys as its file has them, and where it stands."""
    return {
        "service": rule.service,
        "title": rule.title,
        "nixos": rule.nixos,
        "kind": rule.kind.value,
        "pattern": rule.pattern,
        "verdict": rule.verdict.value,
        "severity": rule.severity.value,
        "why": rule.why,
        "user": rule.user,
        "group": rule.group,
        "mode": None if rule.mode is None else f"{rule.mode:04o}",
        "replaced": rule.replaced,
        "method": rule.method,
        "advice": rule.advice,
        "examples": rule.examples,
        "not": rule.excludes,
        "reviewed": rule.reviewed,
        "expires": rule.expires,
        "rule": rule.origin,
    }


def _as_text(chosen: Iterable[Rule]) -> str:
    from drift.names import printable

    lines: list[str] = []
    subject = None
    for rule in chosen:
        if (rule.service, rule.title) != subject:
            subject = (rule.service, rule.title)
            lines += [""] * bool(lines)
            lines.append(rule.service if rule.title == rule.service else ": ".join(subject))
            lines += [f"turned on by {rule.nixos}"] * bool(rule.nixos)
        owner = ":".join((rule.user or "", rule.group or "")).strip(":")
        mode = "" if rule.mode is None else f"{rule.mode:04o}"
        lines += [
            "",
            f"{rule.kind} {rule.pattern}",
            f"  {rule.verdict} ({rule.severity}): {rule.why}",
        ]
        if owner or mode:
            lines.append(f"  owner and mode: {' '.join(filter(None, (owner, mode)))}")
        if rule.replaced:
            lines.append("  replaced by rename: persist its directory")
        if rule.method:
            lines.append(f"  method: {rule.method}")
        if rule.advice:
            lines.append(f"  advice: {rule.advice}")
        if rule.reviewed:
            lines.append(f"  decided on {rule.reviewed}")
        if rule.expires:
            lines.append(f"  decides until {rule.expires}")
        lines.append(f"  {rule.origin}")
    return "".join(f"{printable(line)}\n" for line in lines)
