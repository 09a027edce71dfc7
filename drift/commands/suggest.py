"""`drift suggest`: which directories and files to add to environment.persistence."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import click

from drift.commands import options

if TYPE_CHECKING:
    from pathlib import Path

    from drift.model import Suggestion
    from drift.pipeline import Scan


@click.command(
    epilog="""\b
Examples:
  sudo drift suggest
  sudo drift suggest --nix > persistence.nix
  sudo drift suggest --nix=lists
  sudo drift suggest --json | jq '.directories[].directory'
"""
)
@options.roots
@options.rules
@options.persist
@options.config
@click.option(
    "--nix",
    "nix",
    is_flag=False,
    flag_value="module",
    type=click.Choice(["module", "lists"]),
    metavar="[=lists]",
    help="Print a NixOS module for impermanence, or only the lists to paste into one.",
)
@click.option("--preservation", is_flag=True, help="Print the form of nix-community/preservation.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--all", "all_entries", is_flag=True, help="Suggest what is for review as well.")
@options.quiet
def suggest(
    live: bytes | None,
    blank: bytes | None,
    engine: str,
    rule_paths: tuple[Path, ...],
    persist: tuple[bytes, ...],
    config: tuple[bytes, ...],
    nix: str | None,
    *,
    preservation: bool,
    as_json: bool,
    all_entries: bool,
    quiet: bool,
) -> None:
    """Suggest what to add to environment.persistence, with the reason for each.

    What was not recognised is printed as comments, for you to decide. The result goes to stdout,
    advice and next steps go to stderr.
    """
    from drift import pipeline
    from drift.errors import ExitCode, UsageError

    if sum((nix is not None, preservation, as_json)) > 1:
        raise UsageError("--nix, --preservation and --json exclude each other", "choose one form")
    progress = options.Progress(wanted=not quiet)
    try:
        found = pipeline.scan(
            options.request(live, blank, engine, rule_paths, persist, config),
            os.environ,
            progress=progress,
        )
    finally:
        progress.done()
    suggestion = suggestion_of(found, all_entries=all_entries)
    options.report_notes(found.notes)
    options.write([_rendered(suggestion, nix, preservation=preservation, as_json=as_json)])
    if not quiet and not as_json:
        from drift.render.suggest_text import notes

        text = notes(suggestion, with_advice=nix is not None or preservation)
        click.echo(text, err=True, nl=False)
    options.report_skipped(found.report.skipped)
    click.get_current_context().exit(ExitCode.INCOMPLETE if found.report.skipped else ExitCode.DONE)


def suggestion_of(found: Scan, *, all_entries: bool = False) -> Suggestion:
    """What `drift suggest` says about a scan."""
    from drift.pipeline import lstat
    from drift.suggest import suggest as suggest_for

    def owner_of(path: bytes) -> tuple[int, int, int] | None:
        known = lstat(found.live_directory, path)
        return None if known is None else (known[1], known[2], stat.S_IMODE(known[3]))

    return suggest_for(
        found.report.groups,
        persist=found.store,
        accounts=found.accounts,
        kept=found.report.kept,
        parent_owner=owner_of,
        all_entries=all_entries,
    )


def _rendered(suggestion: Suggestion, nix: str | None, *, preservation: bool, as_json: bool) -> str:
    if as_json:
        from drift.render.suggest_json import render_json

        return render_json(suggestion)
    if preservation:
        from drift.render.preservation import render_preservation

        return render_preservation(suggestion)
    if nix is not None:
        from drift.render.nix import render_lists, render_module

        return render_module(suggestion) if nix == "module" else render_lists(suggestion)
    from drift.render.suggest_text import render

    return render(suggestion)
