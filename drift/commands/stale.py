"""`drift stale`: what lies in persistent storage and is nobody's, and what is declared in vain."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from drift.commands import options

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from drift.errors import ExitCode
    from drift.stale import Stale
    from drift.storage.selection import Selection


@click.command(
    epilog="""\b
Examples:
  sudo drift stale
  sudo drift stale --quarantine --dry-run
  sudo drift stale --quarantine /persist/var/lib/old
  sudo drift stale --restore 2026-01-31T08-00-00

\b
By hand, what is in quarantine comes back with
  mv /persist/.drift/quarantine/DATE/PATH /persist/PATH
and is given up for good with
  rm -r /persist/.drift/quarantine/DATE
"""
)
@click.argument("paths", nargs=-1, type=options.BytesPath(), metavar="[PATH]...")
@click.option(
    "--live",
    type=options.BytesPath(),
    metavar="PATH",
    help="The live root, wherever it is mounted.  [default: /]",
)
@options.persist
@options.config
@click.option(
    "--unused",
    type=click.IntRange(min=0, max=100_000),
    default=180,
    show_default=True,
    metavar="DAYS",
    help="How long nothing below a declared path was written or read. Where the store is mounted"
    " with noatime, reading leaves no trace.",
)
@click.option("--quarantine", is_flag=True, help="Move undeclared PATHs, or all, out of the way.")
@click.option("--restore", metavar="DATE", help="Move PATHs, or all, back from that quarantine.")
@click.option("--dry-run", is_flag=True, help="Only show what would be moved.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--exit-code", is_flag=True, help="Exit with 1 if anything is stale.")
@options.color
@options.quiet
@click.option("-v", "--verbose", is_flag=True, help="Shorten no list.")
def stale(
    paths: tuple[bytes, ...],
    live: bytes | None,
    persist: tuple[bytes, ...],
    config: tuple[bytes, ...],
    unused: int,
    *,
    quarantine: bool,
    restore: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    exit_code: bool,
    color: str,
    quiet: bool,
    verbose: bool,
) -> None:
    """Show what the store holds and nobody declared, and the reverse.

    Declared in vain is what has nothing in the store, or was not used for long. With --quarantine,
    undeclared paths move to a dated directory in the same store; nothing is ever deleted, and
    --restore moves them back. What is declared, mounted, or named by the configuration never moves.
    """
    from drift.errors import ExitCode, UsageError
    from drift.stale import read_stale

    moving = quarantine or restore is not None
    if quarantine and restore is not None:
        raise UsageError(
            "--quarantine and --restore exclude each other", "run drift stale for each"
        )
    if moving and (as_json or exit_code):
        raise UsageError("--json and --exit-code are for the list", "leave them out to move paths")
    if not moving and (paths or dry_run or yes):
        raise UsageError(
            "PATHs, --dry-run and --yes belong to --quarantine or --restore DATE",
            "as in drift stale --quarantine --dry-run",
        )
    now = time.time_ns()
    progress = options.Progress(wanted=not quiet)
    try:
        found = read_stale(
            live or b"/", persist=persist, config=config, unused=unused, now=now, progress=progress
        )
    finally:
        progress.done()
    options.report_notes(found.notes)
    if moving:
        code = _move(found, restore, paths, now, dry_run=dry_run, yes=yes)
    else:
        _list(found, unused, now, as_json=as_json, color=color, quiet=quiet, verbose=verbose)
        clean = all(report.is_clean for report in found.stores)
        code = ExitCode.AT_STAKE if exit_code and not clean else ExitCode.DONE
    if not as_json:
        options.report_skipped(found.skipped)
    if found.skipped:
        code = ExitCode.INCOMPLETE
    click.get_current_context().exit(code)


def _list(
    found: Stale,
    unused: int,
    now: int,
    *,
    as_json: bool,
    color: str,
    quiet: bool,
    verbose: bool,
) -> None:
    from drift.render import stale_json, stale_text

    if as_json:
        options.write([stale_json.render(found, unused)])
        return
    style = stale_text.Style(now, unused, verbose, _painter(color))
    options.write([stale_text.render(found, style)])
    if not quiet:
        click.echo(stale_text.next_steps(found), err=True, nl=False)


def _move(
    found: Stale,
    restore: str | None,
    paths: Sequence[bytes],
    now: int,
    *,
    dry_run: bool,
    yes: bool,
) -> ExitCode:
    """Show what would be moved, ask, and move it; into quarantine, or back where `restore` is set."""
    from drift.errors import ExitCode
    from drift.render import stale_text
    from drift.storage.batch import new_date
    from drift.storage.quarantine import taken_dates
    from drift.storage.selection import to_quarantine, to_restore

    if restore is None:
        selections = to_quarantine(found, paths)
    else:
        selections = to_restore(found, restore, paths)
    date = new_date(now, {one for view in found.views for one in taken_dates(view)})
    parts = [
        stale_text.quarantine_plan(selection, date, now)
        if selection.batch is None
        else stale_text.restore_plan(selection, now)
        for selection in selections
    ]
    options.write(["\n".join(parts)])
    refused = any(choice.why for selection in selections for choice in selection.choices)
    code = ExitCode.AT_STAKE if refused and (paths or restore is not None) else ExitCode.DONE
    count = sum(len(selection.to_move) for selection in selections)
    if dry_run or not count:
        return code
    if not yes and not _agreed(count):
        click.echo("Nothing was moved.")
        return ExitCode.AT_STAKE
    return max(code, _run(selections, date))


def _run(selections: Sequence[Selection], date: str) -> ExitCode:
    from drift.errors import ExitCode
    from drift.render import stale_text
    from drift.storage.batch import Batch
    from drift.storage.quarantine import PATH, open_quarantine

    code = ExitCode.DONE
    with ExitStack() as stack:
        # All are locked before the first path moves, and one date stands for one run.
        opened = [
            (one, stack.enter_context(open_quarantine(one.view)))
            for one in selections
            if one.to_move
        ]
        for selection, quarantine in opened:
            if selection.batch is None:
                outcomes = quarantine.add(Batch(date, selection.to_move))
                place = selection.view.shown_path(PATH + b"/" + date.encode())
            else:
                outcomes = quarantine.restore(selection.batch, selection.to_move)
                place = selection.view.path
            options.write([stale_text.result(selection, outcomes, place)])
            if any(outcome.why for outcome in outcomes):
                code = ExitCode.INCOMPLETE
    return code


def _agreed(count: int) -> bool:
    from drift.errors import UsageError
    from drift.render.text import plural

    try:
        return click.confirm(f"Move {plural(count, 'path')}?", err=True)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        click.echo(err=True)
        raise UsageError(
            "there is nobody to ask whether to move", "look at the plan, then add --yes"
        ) from None


def _painter(choice: str) -> Callable[[str], str]:
    if not options.wants_color(choice):
        return str
    return lambda text: click.style(text, bold=True)
