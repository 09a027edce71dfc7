"""Persist what a review decides: into a .nix file at once, or as lines to paste at the end."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from drift.cli import complain
from drift.errors import DriftError
from drift.names import printable, shown
from drift.review import only
from drift.system.mounts import within

if TYPE_CHECKING:
    from collections.abc import Collection

    from drift.pipeline import Scan
    from drift.report import Entry
    from drift.suggestion import Suggestion


class Persisting:
    """Adds entries to the file `into`; None where they are only remembered."""

    def __init__(self, found: Scan, into: bytes | None, color: str) -> None:
        self.found = found
        self.into = into
        self.color = color
        # What the file keeps since this review began, and the text it was given last.
        self.added: set[bytes] = set()
        self.written: bytes | None = None

    def persist(self, entry: Entry) -> bool:
        """Add one entry; False, with the reason said, where that can't be."""
        suggestion = self._suggested([entry.path])
        paths = _paths(suggestion)
        for advice in suggestion.advice:
            if within(advice.path, entry.path) or within(entry.path, advice.path):
                click.echo(f"  {shown(advice.path)}: {printable(advice.say)}")
        if not paths:
            click.echo("It can't be persisted as it is.")
            return False
        if self.into is None:
            return True
        try:
            complete = self._write_into(self.into, suggestion)
        except DriftError as error:
            complain(error)
            return False
        self.added |= paths if complete else set()
        return complete

    def covers(self, path: bytes) -> bool:
        """Whether `path` lies in what was added."""
        return any(within(path, one) for one in self.added)

    def sum_up(self, paths: Collection[bytes]) -> None:
        """What to do next, for the added ones and for `paths` that are declared nowhere yet."""
        if self.added:
            assert self.into is not None
            name = shown(self.into)
            click.echo(f"Next: drift save --config {name} copies what was added,", nl=False)
            click.echo(" then nixos-rebuild boot.")
        waiting = [path for path in paths if not self.covers(path)]
        if waiting:
            from drift.render.nix import render_lists

            store = shown(self.found.store)
            click.echo(f'\nTo be added to environment.persistence."{store}":\n')
            click.echo(render_lists(self._suggested(waiting), now=time.time_ns()), nl=False)

    def _write_into(self, file: bytes, suggestion: Suggestion) -> bool:
        from drift.commands.suggest import Patch
        from drift.rewrite import read_original

        patch = Patch(file, write=True, color=self.color)
        # The file as it was before this review stays beside it, and not each step since then.
        patch.keep_old = patch.original.text != self.written
        _, complete = patch.apply(suggestion)
        sys.stdout.flush()
        self.written = read_original(file).text
        return complete

    def _suggested(self, paths: Collection[bytes]) -> Suggestion:
        from drift.commands.suggest import suggestion_of

        report = self.found.report
        groups = only(report.groups, frozenset(paths))
        chosen = replace(self.found, report=replace(report, groups=groups))
        return suggestion_of(chosen, all_entries=True)


def _paths(suggestion: Suggestion) -> set[bytes]:
    from drift.situation import absolute_paths

    return {path for path, _ in absolute_paths(suggestion)}
