"""`drift suggest`: which directories and files to add to environment.persistence."""

from __future__ import annotations

import os
import stat
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from drift.commands import options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from drift.nixfile import Addition
    from drift.pipeline import Request, Scan
    from drift.suggestion import Suggestion


@click.command(
    epilog="""\b
Examples:
  sudo drift suggest
  sudo drift suggest --nix > persistence.nix
  sudo drift suggest --nix=lists
  sudo drift suggest --into /etc/nixos/impermanence.nix
  sudo drift suggest --into /etc/nixos/impermanence.nix --write
  sudo drift suggest --cache /cache --nix > persistence.nix
  sudo drift suggest --json | jq '.directories[].directory'
"""
)
@options.request
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
@click.option(
    "--into",
    type=options.BytesPath(),
    metavar="FILE",
    help="Show as a patch what this .nix file lacks.",
)
@click.option("--write", is_flag=True, help="Apply that patch; the old file stays as FILE.orig.")
@click.option(
    "--cache",
    type=options.BytesPath(directory=True),
    metavar="PATH",
    help="A second store, for caches worth keeping.",
)
@click.option("--all", "all_entries", is_flag=True, help="Suggest what is for review as well.")
@options.color
@options.quiet
def suggest(
    request: Request,
    nix: str | None,
    *,
    preservation: bool,
    as_json: bool,
    into: bytes | None,
    write: bool,
    cache: bytes | None,
    all_entries: bool,
    color: str,
    quiet: bool,
) -> None:
    """Suggest what to add to environment.persistence.

    Each entry comes with its reason. What was not recognised is printed as comments, for you to decide. The result goes to stdout,
    advice and next steps go to stderr.
    """
    from drift.errors import ExitCode, UsageError
    from drift.render.text import plural

    if sum((nix is not None, preservation, as_json, into is not None)) > 1:
        raise UsageError(
            "--nix, --preservation, --json and --into exclude each other", "choose one form"
        )
    if write and into is None:
        raise UsageError("--write changes the file that --into names", "add --into FILE")
    patch = None if into is None else Patch(into, write=write, color=color)
    found = options.scanned(request, quiet=quiet)
    suggestion = suggestion_of(found, cache=cache, all_entries=all_entries)
    added, complete = False, True
    if patch is not None:
        added, complete = patch.apply(suggestion)
        if suggestion.review and not quiet:
            count = plural(len(suggestion.review), "entry is", "entries are")
            click.echo(f"{count} for you to look at: drift suggest names them.", err=True)
    else:
        options.write([_rendered(suggestion, nix, preservation=preservation, as_json=as_json)])
    if not quiet and not as_json:
        from drift.render.suggest_text import notes
        from drift.situation import read_situation

        text = notes(
            suggestion,
            with_advice=nix is not None or preservation or into is not None,
            situation=read_situation(found, suggestion, added=added),
        )
        click.echo(text, err=True, nl=False)
    options.report_skipped(found.report.skipped)
    complete = complete and not found.report.skipped
    click.get_current_context().exit(ExitCode.DONE if complete else ExitCode.INCOMPLETE)


class Patch:
    """What `--into FILE` does; the file is read, and refused, before the long work.

    `keep_old` leaves the file as it was beside the new one.
    """

    def __init__(self, file: bytes, *, write: bool, color: str) -> None:
        from drift.nixfile import read_declared
        from drift.rewrite import read_original

        self.file = file
        self.write = write
        self.color = color
        self.keep_old = True
        self.original = read_original(file)
        with self._named():
            read_declared(self.original.text)

    def apply(self, suggestion: Suggestion) -> tuple[bool, bool]:
        """Print the patch, and apply it where that is wanted.

        Tells whether the file has the entries now, and whether none had to be left out.
        """
        from drift.names import shown
        from drift.nixfile import add_missing
        from drift.render.patch import render_patch
        from drift.rewrite import replace_text

        before = self.original.text
        with self._named():
            addition = add_missing(before, suggestion)
        _report_left_out(addition)
        if addition.text == before:
            click.echo(f"Nothing to add to {shown(self.file)}.", err=True)
            return True, True
        if self.write:
            _require_valid(self.original.text, addition.text)
        options.write(render_patch(self.file, before, addition.text, paint=_painter(self.color)))
        if self.write:
            kept = replace_text(self.original, addition.text)
            said = f"{shown(self.original.path)} is changed"
            if self.keep_old:
                said += f", as it was: {shown(kept)}"
            else:
                os.unlink(kept)
            click.echo(said, err=True)
        return self.write, not addition.left_out

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Say of which file an error is."""
        from drift.errors import DriftError
        from drift.names import shown

        try:
            yield
        except DriftError as error:
            raise DriftError(f"{shown(self.file)}: {error.message}", error.hint) from error


def _report_left_out(addition: Addition) -> None:
    from drift.names import printable, shown

    for left in addition.left_out:
        paths = ", ".join(map(shown, left.paths))
        click.echo(f"drift: left out for {printable(left.user)}: {paths}", err=True)
        click.echo(f"  {printable(left.why)}", err=True)


def _require_valid(before: bytes, after: bytes) -> None:
    """Where Nix is at hand, it has to read the new text as it reads the old."""
    from drift.errors import DriftError
    from drift.system.programs import run

    try:
        texts = [
            run(["nix-instantiate", "--parse", "-"], input=text, timeout=60)
            for text in (before, after)
        ]
    except DriftError:
        return
    if texts[0].returncode == 0 != texts[1].returncode:
        raise DriftError(
            "Nix does not take what drift would write, so nothing was written",
            "add by hand what --nix=lists prints, and please report it with the file",
        )


def _painter(choice: str) -> Callable[[str, str], str] | None:
    if not options.wants_color(choice):
        # A pipe gets the file's own bytes, a terminal what it can show.
        return (lambda text, _: text) if sys.stdout.isatty() else None
    colors: dict[str, dict[str, Any]] = {
        "file": {"bold": True},
        "hunk": {"fg": "cyan"},
        "+": {"fg": "green"},
        "-": {"fg": "red"},
    }
    return lambda text, kind: click.style(text, **colors[kind]) if kind in colors else text


def suggestion_of(
    found: Scan, *, cache: bytes | None = None, all_entries: bool = False
) -> Suggestion:
    """What `drift suggest` says about a scan; `cache` is a second store, as the user names it."""
    from drift.model import Kind
    from drift.pipeline import lstat
    from drift.store import find_store
    from drift.suggest import suggest as suggest_for
    from drift.system.mounts import join

    def owner_of(path: bytes) -> tuple[int, int, int] | None:
        known = lstat(found.live_directory, path)
        if known is None or known[0] is not Kind.DIRECTORY:
            return None
        return known[1], known[2], stat.S_IMODE(known[3])

    def names_in(path: bytes) -> tuple[bytes, ...]:
        try:
            return tuple(os.listdir(join(found.live_directory, path)))
        except OSError:
            return ()

    return suggest_for(
        found.report.groups,
        persist=found.store,
        accounts=found.accounts,
        kept=found.report.kept,
        parent_owner=owner_of,
        names_in=names_in,
        cache=None if cache is None else find_store((), found.live_directory, cache),
        all_entries=all_entries,
    )


def _rendered(suggestion: Suggestion, nix: str | None, *, preservation: bool, as_json: bool) -> str:
    if as_json:
        from drift.render.suggest_json import render_json

        return render_json(suggestion)
    if preservation:
        from drift.render.preservation import render_preservation

        return render_preservation(suggestion, now=time.time_ns())
    if nix is not None:
        from drift.render.nix import render_lists, render_module

        form = render_module if nix == "module" else render_lists
        return form(suggestion, now=time.time_ns())
    from drift.render.suggest_text import render

    return render(suggestion)
