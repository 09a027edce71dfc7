"""`drift save`: copy what would be lost into persistent storage, before it is lost."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from drift.commands import options

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from drift.locate import Located
    from drift.model import Skipped
    from drift.saving.plan import Item, Plan
    from drift.saving.source import Tree
    from drift.saving.store import Store
    from drift.saving.targets import Targets


@click.command(
    epilog="""\b
Examples:
  sudo drift save --dry-run
  sudo drift save
  sudo drift save --yes /etc/machine-id /var/lib/bluetooth
"""
)
@click.argument("paths", nargs=-1, type=options.BytesPath(), metavar="[PATH]...")
@options.roots
@options.rules
@options.persist
@options.config
@click.option("--all", "all_entries", is_flag=True, help="Save what is for review as well.")
@click.option("--hidden", is_flag=True, help="Save what the root itself has below mount points.")
@click.option("--no-snapshot", is_flag=True, help="Read the live root as it is, not a snapshot.")
@click.option("--replace", is_flag=True, help="Move aside what is different in the store.")
@click.option("--dry-run", is_flag=True, help="Only show the plan.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@options.quiet
def save(
    paths: tuple[bytes, ...],
    live: bytes | None,
    blank: bytes | None,
    engine: str,
    rule_paths: tuple[Path, ...],
    persist: tuple[bytes, ...],
    config: tuple[bytes, ...],
    *,
    all_entries: bool,
    hidden: bool,
    no_snapshot: bool,
    replace: bool,
    dry_run: bool,
    yes: bool,
    quiet: bool,
) -> None:
    """Copy what drift suggests, or just the given PATHs, into persistent storage.

    Each entry is copied from a snapshot of the live root, verified, and then put in its place:
    it is there whole or not at all. What is different in the store is left alone.
    """
    from drift import pipeline
    from drift.errors import ExitCode, UsageError
    from drift.locate import locate
    from drift.saving import targets as where

    if bool(paths) + all_entries + hidden > 1:
        raise UsageError("PATHs, --all and --hidden exclude each other", "run drift save for each")
    skipped: list[Skipped] = []
    found = None
    if not paths:
        progress = options.Progress(wanted=not quiet)
        try:
            found = pipeline.scan(
                options.request(live, blank, engine, rule_paths, persist, config),
                os.environ,
                progress=progress,
            )
        finally:
            progress.done()
        skipped += found.report.skipped
        options.report_notes(found.notes)
    # The blank has been read; from here on only the live root matters.
    located = locate(live or b"/", b"none", explicit_live=live is not None)
    try:
        targets: Targets
        if found is None:
            store = where.main_store(located, persist)
            targets = {store: where.rooted(paths, located.live_directory)}
        elif hidden:
            targets = {found.store: [item.path for item in found.report.hidden]}
        else:
            from drift.commands.suggest import suggestion_of

            targets = where.suggested(found, suggestion_of(found, all_entries=all_entries))
        run = _Run(located, targets, no_snapshot=no_snapshot, replace=replace, quiet=quiet)
        code = run.show() if dry_run else run.save(yes=yes)
    finally:
        located.close()
    options.report_skipped(skipped)
    if code is ExitCode.DONE and skipped:
        code = ExitCode.INCOMPLETE
    click.get_current_context().exit(code)


class _Run:
    def __init__(
        self,
        located: Located,
        targets: Targets,
        *,
        no_snapshot: bool,
        replace: bool,
        quiet: bool,
    ) -> None:
        from drift.saving.targets import destination

        self.located = located
        self.targets = targets
        self.snapshot = not no_snapshot and located.live_subvolume is not None
        self.replace = replace
        self.quiet = quiet
        self.places = {store: destination(located, store) for store in targets}

    def show(self) -> int:
        """The plan alone: nothing is written, not even a snapshot taken."""
        from drift.saving.plan import make_plan
        from drift.saving.snapshot import live_tree
        from drift.saving.source import Tree
        from drift.saving.store import open_top

        items: list[Item] = []
        with live_tree(self.located) as source:
            for store, place in self.places.items():
                top = open_top(place.host, store)
                try:
                    plan = make_plan(
                        source,
                        Tree(top),
                        self.targets[store],
                        shared=place.shared,
                        replace=self.replace,
                    )
                finally:
                    os.close(top)
                plan = self._explained(plan)
                self._echo(plan, store)
                plan.require_room(store)
                items += plan.items
        self._nothing()
        return _code(items)

    def save(self, *, yes: bool) -> int:
        from drift.saving.plan import make_plan
        from drift.saving.snapshot import live_tree, snapshot_tree
        from drift.saving.store import open_store

        wanted = [path for paths in self.targets.values() for path in paths]
        items: list[Item] = []
        copied = False
        with _ended_by_signals():
            tree = (
                snapshot_tree(self.located, wanted)
                if self.snapshot and wanted
                else live_tree(self.located)
            )
            with tree as source:
                for store, place in self.places.items():
                    with open_store(place.host, store) as opened:
                        plan = make_plan(
                            source,
                            opened.tree,
                            self.targets[store],
                            shared=place.shared,
                            replace=self.replace,
                        )
                        plan = self._explained(plan)
                        if plan.to_copy or not yes:
                            self._echo(plan, store)
                        plan.require_room(store)
                        if plan.to_copy and not yes and not _agreed(plan, store):
                            click.echo("Nothing was copied.")
                            return _AT_STAKE
                        done = self._copy(plan, source, opened)
                        copied = copied or bool(plan.to_copy)
                        items += done
        self._nothing()
        if copied and not self.quiet:
            from drift.render.save_text import next_steps

            click.echo(next_steps(), err=True, nl=False)
        return _code(items)

    def _copy(self, plan: Plan, source: Tree, opened: Store) -> list[Item]:
        from drift.render.save_text import result_text
        from drift.save import save as run_save
        from drift.saving.targets import origin_of

        # Every byte is copied once and read once more.
        total = 2 * sum(item.contents.size for item in plan.to_copy)
        bar = _Bar(total, wanted=not self.quiet)
        try:
            done = run_save(
                plan,
                source,
                opened,
                origin_of(self.located),
                now=time.time_ns(),
                progress=bar,
            )
        finally:
            bar.done()
        options.write([result_text(done, opened.path)])
        return done

    def _explained(self, plan: Plan) -> Plan:
        """Say of a path that the live root lacks what keeps it elsewhere."""
        from drift.saving.plan import Action
        from drift.saving.targets import kept_by
        from drift.system.mounts import within

        kept = kept_by(self.located)
        items = []
        for item in plan.items:
            above = [path for path in kept if within(item.path, path)]
            if item.action is Action.FAILED and above and "no such path" in item.why:
                by = kept[max(above, key=len)]
                item = replace(item, why=f"it is kept already: {by}")
            items.append(item)
        return replace(plan, items=tuple(items))

    def _echo(self, plan: Plan, store: bytes) -> None:
        from drift.render.save_text import plan_text

        source = "a snapshot of the live root" if self.snapshot else "the live root"
        options.write([plan_text(plan, store, source, time.time_ns()), "\n"])

    def _nothing(self) -> None:
        if not self.targets:
            click.echo("Nothing to save: drift suggests nothing.")


_AT_STAKE = 1


def _code(items: list[Item]) -> int:
    from drift.errors import ExitCode
    from drift.saving.plan import Action

    actions = {item.action for item in items}
    if Action.FAILED in actions:
        return ExitCode.INCOMPLETE
    return ExitCode.AT_STAKE if Action.DIFFERENT in actions else ExitCode.DONE


def _agreed(plan: Plan, store: bytes) -> bool:
    from drift.errors import UsageError
    from drift.names import shown
    from drift.render.text import plural

    count = plural(len(plan.to_copy), "entry", "entries")
    try:
        return click.confirm(f"Copy {count} into {shown(store)}?", err=True)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        click.echo(err=True)
        raise UsageError(
            "there is nobody to ask whether to copy", "look at the plan, then add --yes"
        ) from None


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let a terminated save remove its snapshot and what is half done, as an interrupted one."""

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = {}
    for number in (signal.SIGTERM, signal.SIGHUP):
        before[number] = signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Bar:
    """Bytes and names on stderr for a save that takes over a second, when that is a terminal."""

    def __init__(self, total: int, *, wanted: bool) -> None:
        self._total = total
        self._sum = 0
        self._wanted = wanted and sys.stderr.isatty()
        self._next = time.monotonic() + 1
        self._shown = False

    def __call__(self, path: bytes, count: int) -> None:
        self._sum += count
        now = time.monotonic()
        if not self._wanted or now < self._next:
            return
        from drift.names import shown
        from drift.render.text import cut, size

        self._next = now + 0.1
        self._shown = True
        part = min(100, 100 * self._sum // (self._total or 1))
        text = f"{part:3d} % of {size(self._total // 2)}  {cut(shown(path), 50)}"
        click.echo(f"\r\033[Ksaving: {text}", err=True, nl=False)

    def done(self) -> None:
        if self._shown:
            click.echo("\r\033[K", err=True, nl=False)
