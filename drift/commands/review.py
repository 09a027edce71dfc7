"""`drift review`: what is new since the last review, and a decision for each."""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from drift.commands import options

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from drift.pipeline import Request, Scan
    from drift.review import Review
    from drift.reviewing.fingerprint import Fingerprint
    from drift.reviewing.opened import Opened


@click.command(
    epilog="""\b
The two columns of the list, as in chezmoi status:
  1st, since the last review:  A new, M changed, blank the same (--all)
  2nd, at the next reboot:     D lost, M put back to what the blank has,
                               K kept (--all: declared, but not saved yet)

\b
Examples:
  sudo drift review
  sudo drift review --into /etc/nixos/impermanence.nix
  sudo drift review --write-rules ~/nixos/drift.toml
  sudo drift review --list
  sudo drift review --exit-code --quiet > /dev/null || echo look
"""
)
@options.request
@click.option("--list", "as_list", is_flag=True, help="Only list, also on a terminal.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--accept-all", is_flag=True, help="Mark everything as seen, without asking.")
@click.option("--all", "everything", is_flag=True, help="List what was reviewed as well.")
@click.option(
    "--into",
    type=options.BytesPath(),
    metavar="FILE",
    help="The .nix file that p adds to; what it declares counts as declared.",
)
@click.option(
    "--write-rules",
    type=options.BytesPath(),
    metavar="FILE",
    help="The rule file that i adds to, which is read as with --rules."
    "  [default: .drift/rules.d/reviewed.toml in persistent storage, read by scan and all that build on it]",
)
@click.option("--exit-code", is_flag=True, help="Exit with 1 if anything is left to review.")
@options.color
@options.quiet
def review(
    request: Request,
    *,
    as_list: bool,
    as_json: bool,
    accept_all: bool,
    everything: bool,
    into: bytes | None,
    write_rules: bytes | None,
    exit_code: bool,
    color: str,
    quiet: bool,
) -> None:
    """Show what is new since the last review, and decide about each.

    On a terminal each entry is asked about: p persists it, i ignores it with a reason, l leaves it
    for later, ? names all keys. Elsewhere, and with --list, they are only listed. Every decision
    is remembered at once, in .drift of the persistent storage.
    """
    from drift.errors import ExitCode, UsageError

    if as_list + as_json + accept_all > 1:
        raise UsageError("--list, --json and --accept-all exclude each other", "choose one")
    if everything and accept_all:
        raise UsageError("--all is for lists", "leave it out")
    if into is not None:
        from drift.commands.suggest import Patch

        Patch(into, write=True, color=color)
        request = replace(request, config=(*request.config, into))
    if write_rules is not None and os.path.exists(write_rules):
        request = replace(request, rules=(*request.rules, os.fsdecode(write_rules)))
    asks = not (as_list or as_json or accept_all or everything) and _is_terminal()
    found = options.scanned(request, quiet=quiet)
    with _opened(found, request, write=asks or accept_all) as (opened, root):
        compared, prints = _compare(found, opened, root, everything=everything)
        left = compared.unreviewed
        if asks:
            from drift.commands.review_run import ReviewRun, Wish

            wish = Wish(into, write_rules, color)
            left = ReviewRun(found, root, compared, prints, opened, request, wish).ask()
        elif accept_all:
            _accept(compared, prints, opened)
            left = []
        else:
            options.write([_rendered(compared, found, as_json=as_json, color=color)])
            if left and not (as_json or quiet):
                click.echo("Next: drift review on a terminal asks about each.", err=True)
    if not quiet and not as_json and found.pending and not everything:
        from drift.render.text import plural

        count = plural(len(found.pending), "entry is", "entries are")
        click.echo(f"{count} declared but not saved yet: drift save copies them.", err=True)
    options.report_skipped(found.report.skipped)
    code = ExitCode.DONE
    if found.report.skipped:
        code = ExitCode.INCOMPLETE
    elif exit_code and left:
        code = ExitCode.AT_STAKE
    click.get_current_context().exit(code)


@contextmanager
def _opened(found: Scan, request: Request, *, write: bool) -> Iterator[tuple[Opened, bytes]]:
    """The record in the store of the live root, and a directory to read that root from.

    DriftError where the record would be lost with the root.
    """
    from drift.compare import open_top
    from drift.locate import locate
    from drift.reviewing.opened import open_reviewed
    from drift.reviewing.state import Reviewed
    from drift.saving.targets import destination

    located = locate(request.live, b"none", explicit_live=request.explicit_live)
    with ExitStack() as stack:
        stack.callback(located.close)
        place = destination(located, found.store)
        live = located.live_subvolume
        uuid, root = b"", found.live_directory
        if live is not None:
            # A mount of its own, on which reading leaves no trace in the times of what is read.
            uuid, root = live.uuid, b"/proc/self/fd/%d/%s" % (open_top(located, stack), live.path)
        now = Reviewed(uuid, found.report.live.generation, time.time_ns())
        yield stack.enter_context(open_reviewed(place, now, _say, write=write)), root


def _compare(
    found: Scan, opened: Opened, root: bytes, *, everything: bool
) -> tuple[Review, Mapping[bytes, Fingerprint]]:
    from drift.review import review as run_review
    from drift.review import to_review
    from drift.reviewing.fingerprint import fingerprints

    at_stake = to_review(found.report, found.store)
    entries = (entry for group in at_stake for entry in group.entries)
    prints = fingerprints(entries, root)
    expired = opened.state.expired(time.strftime("%Y-%m-%d"))
    expired |= {os.fsencode(rule.pattern) for rule in found.expired}
    compared = run_review(
        at_stake,
        prints,
        opened.state,
        opened.root.uuid,
        expired=expired,
        pending=found.pending,
        everything=everything,
    )
    return compared, prints


def _accept(compared: Review, prints: Mapping[bytes, Fingerprint], opened: Opened) -> None:
    from drift.render.text import plural
    from drift.reviewing.state import Decision, Record

    paths = compared.unreviewed
    when = opened.root.when
    opened.decide({path: Record(Decision.ACCEPT, when, prints[path]) for path in paths}, prints)
    click.echo(f"{plural(len(paths), 'entry', 'entries')} marked as seen.")


def _rendered(compared: Review, found: Scan, *, as_json: bool, color: str) -> str:
    if as_json:
        from drift.render import review_json

        return review_json.render(compared, found.report, found.store)
    from drift.render import review_text
    from drift.render.scan_text import Style

    style = Style(options.line_width(), options.severity_painter(color))
    return review_text.render(compared, time.time_ns(), style)


def _is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _say(text: str) -> None:
    click.echo(f"drift: {text}", err=True)
