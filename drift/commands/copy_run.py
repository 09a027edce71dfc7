"""Show what is to be copied into persistent storage, ask, and do it: for `save` and `lost`."""

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
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from drift.errors import ExitCode
    from drift.locate import Located
    from drift.saving.plan import Item, Plan
    from drift.saving.source import Tree
    from drift.saving.store import Store
    from drift.saving.targets import Targets

    Opener = Callable[[], AbstractContextManager[Tree]]


class CopyRun:
    """Show a plan, ask, copy, and say what became of it; methods give the exit code.

    `tree` opens what is copied from, for the time of the run, and `look` the same without writing
    anything; `words` say what that is.
    """

    def __init__(
        self,
        located: Located,
        targets: Targets,
        *,
        tree: Opener,
        look: Opener,
        words: str,
        replace: bool,
        quiet: bool,
    ) -> None:
        from drift.saving.targets import destination

        self.located = located
        self.targets = targets
        self.tree = tree
        self.look = look
        self.words = words
        self.replace = replace
        self.quiet = quiet
        self.places = {store: destination(located, store) for store in targets}
        for store, paths in targets.items():
            _refuse_store_itself(store, paths, plain=located.live_subvolume is None)

    def show(self) -> ExitCode:
        """The plan alone: nothing is written, not even a snapshot taken."""
        from drift.saving.plan import make_plan
        from drift.saving.source import Tree
        from drift.saving.store import open_top

        items: list[Item] = []
        with self.look() as source:
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
        return _code(items)

    def save(self, *, yes: bool) -> ExitCode:
        from drift.errors import ExitCode
        from drift.saving.plan import Action, make_plan
        from drift.saving.store import open_store

        items: list[Item] = []
        copied = False
        with _ended_by_signals(), self.tree() as source:
            for store, place in self.places.items():
                with open_store(place.host, store) as opened:
                    # What a killed run has left takes room.
                    opened.clean()
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
                        return ExitCode.AT_STAKE
                    done = self._copy(plan, source, opened)
                    copied = copied or any(
                        item.action in (Action.COPY, Action.REPLACE) for item in done
                    )
                    items += done
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

        options.write([plan_text(plan, store, self.words, time.time_ns()), "\n"])


def tidy(located: Located, store: bytes) -> None:
    """Remove what killed runs have left, where there is nothing to copy."""
    from drift.errors import DriftError
    from drift.saving.manifest import open_private, read_manifest
    from drift.saving.snapshot import remove_left_behind
    from drift.saving.store import open_store, open_top
    from drift.saving.targets import destination

    remove_left_behind(located)
    try:
        place = destination(located, store)
    except DriftError:
        return
    top = open_top(place.host, store)
    try:
        private = open_private(top, make=False)
    except FileNotFoundError:
        return
    finally:
        os.close(top)
    pending = read_manifest(private).pending
    os.close(private)
    if pending:
        with open_store(place.host, store) as opened:
            opened.clean()


def _refuse_store_itself(store: bytes, paths: Iterable[bytes], *, plain: bool) -> None:
    """A path in the store can't be saved into it, nor one that it is a plain part of."""
    from drift.errors import UsageError
    from drift.names import shown
    from drift.system.mounts import within

    for path in paths:
        if within(path, store) or (plain and within(store, path)):
            raise UsageError(
                f"{shown(path)} and the persistent storage {shown(store)} lie in each other",
                "name paths of the live root outside of its persistent storage",
            )


def _code(items: list[Item]) -> ExitCode:
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
