"""What a persistent store has that nobody declares, and what is declared that nobody has or uses."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from drift.configured import read_configured
from drift.model import Kind, Skipped
from drift.persistence import read_persistence
from drift.places import shared
from drift.storage.ids import known_ids
from drift.storage.quarantine import read_batches
from drift.storage.survey import Survey
from drift.storage.view import View, read_views
from drift.system.accounts import read_accounts
from drift.system.declared import State
from drift.system.mounts import read_mounts
from drift.system.rooted import Rooted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from drift.storage.batch import Batch
    from drift.storage.survey import Tally

DAY = 86400 * 10**9

# The dataclasses below have a field `bytes`, which hides the type.
OnePath = bytes


@dataclass(frozen=True, slots=True)
class Undeclared:
    """A path of the store that is declared nowhere, with all below it; `path` as the root sees it.

    `held` says why it can't be moved now, `saved` when drift saved something of it.
    """

    path: bytes
    kind: Kind
    files: int
    bytes: int
    newest: int
    held: str = ""
    saved: int | None = None


@dataclass(frozen=True, slots=True)
class Unfilled:
    """A declared path whose `source` in the store is `absent` or `empty`.

    `saved` is False where its data lies on the live root alone.
    """

    path: bytes
    source: bytes
    by: str
    state: State
    why: str
    saved: bool


@dataclass(frozen=True, slots=True)
class Unused:
    """A declared path that nothing was written to or read from since `used`."""

    path: bytes
    source: bytes
    files: int
    bytes: int
    used: int


@dataclass(frozen=True, slots=True)
class Orphaned:
    """A number that owns entries of the store and that no account has; `kind` is `uid` or `gid`."""

    kind: str
    number: int
    entries: int
    example: bytes


@dataclass(frozen=True, slots=True)
class Named:
    """A path that is not persisted, and yet used: the configuration names it in `by`."""

    path: bytes
    by: str
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class StoreReport:
    """What is stale in one store; lists are sorted by path.

    `entries` are the declared ones that are in it, with their `files` and `bytes`. `problem` says
    why the store is no safe place, `only_writes` that it does not note who reads it.
    """

    path: OnePath
    describe: str
    problem: str
    only_writes: bool
    entries: int
    files: int
    bytes: int
    undeclared: tuple[Undeclared, ...]
    unfilled: tuple[Unfilled, ...]
    unused: tuple[Unused, ...]
    orphaned: tuple[Orphaned, ...]
    named: tuple[Named, ...]
    quarantined: tuple[Batch, ...]

    @property
    def is_declared(self) -> bool:
        """Whether anything declares something in it: else all in it would look like nobody's."""
        return bool(self.entries or self.unfilled)

    @property
    def is_clean(self) -> bool:
        return not (
            self.problem or self.undeclared or self.unfilled or self.unused or self.orphaned
        )


class Stale(NamedTuple):
    """The reports of all stores, the views they were made from, and what could not be read or told."""

    stores: tuple[StoreReport, ...]
    views: tuple[View, ...]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]


def read_stale(
    live: bytes = b"/",
    *,
    persist: Sequence[bytes] = (),
    config: Sequence[bytes] = (),
    unused: int = 180,
    now: int,
    progress: Callable[[int], None] = lambda _count: None,
) -> Stale:
    """Look at every store of the root mounted at `live`; DriftError where there is none.

    What is declared counts as not used after `unused` days before `now`.
    """
    root = os.path.realpath(live)
    rooted = Rooted(root)
    mounts = read_mounts()
    accounts = read_accounts(root)
    configured = read_configured(config, accounts.homes)
    persistence = read_persistence(mounts, root, given=persist, claims=configured.claims)
    ids = known_ids(rooted, accounts)
    views = read_views(rooted, mounts, persistence, given=persist, configs=config)
    reports: list[StoreReport] = []
    skipped = list(accounts.skipped)
    for view in views:
        top = view.open_top()
        try:
            survey = Survey(top, ids, progress)
            survey.read(view.expected.root)
        finally:
            os.close(top)
        skipped += view.skipped
        skipped += [Skipped(view.shown_path(one.path), one.reason) for one in survey.skipped]
        batches, problems = read_batches(view)
        skipped += problems
        reports.append(
            _report(
                view,
                survey,
                batches,
                unsaved=persistence.unsaved,
                homes=accounts.home_directories,
                before=now - unused * DAY,
            )
        )
    return Stale(tuple(reports), tuple(views), tuple(skipped), configured.notes)


def _report(
    view: View,
    survey: Survey,
    batches: tuple[Batch, ...],
    *,
    unsaved: frozenset[bytes],
    homes: Sequence[bytes],
    before: int,
) -> StoreReport:
    outermost = [
        tally
        for path, tally in survey.claimed.items()
        if path in view.declared and tally.above is None
    ]
    return StoreReport(
        path=view.path,
        describe=view.describe,
        problem=view.problem,
        only_writes=view.only_writes,
        entries=sum(path in view.declared for path in survey.claimed),
        files=sum(tally.files for tally in outermost),
        bytes=sum(tally.bytes for tally in outermost),
        undeclared=tuple(
            undeclared(view, tally) for tally in survey.undeclared if not _is_a_stub(tally, homes)
        ),
        unfilled=tuple(_unfilled(view, survey, unsaved)),
        unused=tuple(_unused(view, survey, before)),
        orphaned=tuple(
            Orphaned(kind, number, found.entries, view.shown_path(found.example))
            for (kind, number), found in sorted(
                survey.strangers.items(), key=lambda item: (item[0][0] != "uid", item[0][1])
            )
        ),
        named=tuple(_named(view, survey)),
        quarantined=batches,
    )


def _is_a_stub(tally: Tally, homes: Sequence[bytes]) -> bool:
    """Whether it is /var/lib, a home or the like, left with no file: the next entry goes there."""
    return tally.kind is Kind.DIRECTORY and not tally.files and shared(tally.path, homes)


def undeclared(view: View, tally: Tally) -> Undeclared:
    return Undeclared(
        path=view.shown_path(tally.path),
        kind=tally.kind,
        files=tally.files,
        bytes=tally.bytes,
        newest=tally.newest,
        held=view.why_held(tally.path),
        saved=view.when_saved(tally.path),
    )


def _unfilled(view: View, survey: Survey, unsaved: frozenset[bytes]) -> Iterator[Unfilled]:
    for path, one in sorted(view.declared.items(), key=lambda item: item[1].path.split(b"/")):
        tally = survey.claimed.get(path)
        if tally is None:
            if not _unread(survey, path):
                yield Unfilled(
                    one.path, one.source, one.by, one.state, "absent", one.path not in unsaved
                )
        elif tally.whole and _is_empty(tally):
            yield Unfilled(
                one.path, one.source, one.by, one.state, "empty", one.path not in unsaved
            )


def _unread(survey: Survey, path: bytes) -> bool:
    """Whether what could show `path` could not be read."""
    return any(
        path.startswith(one.path.rstrip(b"/") + b"/") or path == one.path for one in survey.skipped
    )


def _is_empty(tally: Tally) -> bool:
    if tally.kind is Kind.DIRECTORY:
        return tally.files == 0
    return tally.kind is Kind.FILE and tally.size == 0


def _unused(view: View, survey: Survey, before: int) -> Iterator[Unused]:
    for path, one in sorted(view.declared.items(), key=lambda item: item[1].path.split(b"/")):
        tally = survey.claimed.get(path)
        # What the next boot brings into use could not be used yet.
        if tally is None or one.state is not State.ACTIVE or not tally.whole or _is_empty(tally):
            continue
        if tally.used < before:
            yield Unused(one.path, one.source, tally.files, tally.bytes, tally.used)


def _named(view: View, survey: Survey) -> Iterator[Named]:
    for path, by in sorted(view.named.items(), key=lambda item: item[0].split(b"/")):
        tally = survey.claimed.get(path)
        if tally is not None and path not in view.declared:
            yield Named(view.shown_path(path), by, tally.files, tally.bytes)
