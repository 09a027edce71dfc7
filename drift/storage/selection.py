"""Choose what is to be moved into quarantine or out of it, and say of the rest why not."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from drift.errors import UsageError
from drift.model import Kind
from drift.names import shown
from drift.saving.beneath import DIRECTORY, exists, open_beneath
from drift.stale import Stale, undeclared
from drift.storage.batch import Batch, Moved
from drift.storage.expected import Role
from drift.storage.ids import NOBODY_ASKS
from drift.storage.quarantine import crosses
from drift.storage.survey import Survey
from drift.system.mounts import relative, within

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drift.stale import StoreReport, Undeclared
    from drift.storage.view import View


class Choice(NamedTuple):
    """A path from the top of the store; `why` says why it stays where it is, empty where it moves."""

    entry: Moved
    newest: int
    why: str = ""


class Selection(NamedTuple):
    """What is chosen in one store; `batch` is where it is moved back from.

    `why` says why nothing of the store is chosen at all.
    """

    view: View
    choices: tuple[Choice, ...] = ()
    batch: Batch | None = None
    why: str = ""

    @property
    def to_move(self) -> tuple[Moved, ...]:
        return tuple(choice.entry for choice in self.choices if not choice.why)


def to_quarantine(stale: Stale, paths: Sequence[bytes]) -> list[Selection]:
    """All that is undeclared, or just `paths`: as the root sees them, or as this machine does.

    What drift saved and nothing declares yet moves only if it is named. UsageError for a path that
    is in no store.
    """
    pairs = list(zip(stale.views, stale.stores, strict=True))
    if not paths:
        return [_all_of(view, report) for view, report in pairs]
    wanted = _by_store(stale.views, paths)
    return [
        Selection(view, tuple(_asked(view, report, path) for path in wanted[view.path]))
        for view, report in pairs
        if view.path in wanted
    ]


def to_restore(stale: Stale, date: str, paths: Sequence[bytes]) -> list[Selection]:
    """What was moved at `date`, in every store, or just `paths`; UsageError where there is none."""
    dates = sorted({batch.date for report in stale.stores for batch in report.quarantined})
    chosen = [date] if date in dates else [one for one in dates if date and one.startswith(date)]
    if len(chosen) != 1:
        said = "more than one quarantine is" if chosen else "nothing is in quarantine"
        listed = ", ".join(chosen or dates)
        raise UsageError(
            f"{said} of {shown(os.fsencode(date))}",
            f"there is {listed}" if listed else "drift stale lists what is",
        )
    wanted = _by_store(stale.views, paths)
    found = []
    for view, report in zip(stale.views, stale.stores, strict=True):
        for batch in report.quarantined:
            if batch.date == chosen[0] and (not paths or view.path in wanted):
                entries = _of_batch(view, batch, wanted.get(view.path))
                found.append(Selection(view, entries, batch))
    return found


def _by_store(views: Sequence[View], paths: Sequence[bytes]) -> dict[bytes, list[bytes]]:
    """Each path from the top of its store, sorted, without those that lie in others."""
    found: dict[bytes, list[bytes]] = {}
    for path in paths:
        whole = os.path.normpath(os.path.join(os.getcwdb(), path)).replace(b"//", b"/")
        tops = [
            (top, view) for view in views for top in (view.host, view.path) if within(whole, top)
        ]
        if not tops:
            listed = ", ".join(shown(view.path) for view in views)
            raise UsageError(
                f"{shown(whole)} is in no persistent storage", f"name paths below {listed}"
            )
        top, view = max(tops, key=lambda pair: len(pair[0]))
        found.setdefault(view.path, []).append(relative(whole, top))
    return {
        store: [
            path
            for path in sorted(set(inside), key=lambda path: path.split(b"/"))
            if not any(path != other and within(path, other) for other in inside)
        ]
        for store, inside in found.items()
    }


def _all_of(view: View, report: StoreReport) -> Selection:
    if report.undeclared and not report.is_declared:
        return Selection(
            view,
            why="nothing that drift sees declares anything in it, so all in it looks like nobody's;"
            " name the configuration with --config, or the paths to move",
        )
    return Selection(view, tuple(_choice(view, one, named=False) for one in report.undeclared))


def _choice(view: View, one: Undeclared, *, named: bool) -> Choice:
    path = relative(one.path, view.path)
    why = one.held or crosses(view, path)
    if not why and one.saved is not None and not named:
        why = "drift save put it there, and nothing declares it yet; name its path to move it"
    return Choice(Moved(path, one.kind, one.files, one.bytes), one.newest, why)


def _asked(view: View, report: StoreReport, path: bytes) -> Choice:
    why = _why_not_stale(view, path)
    if why:
        return Choice(Moved(path, Kind.DIRECTORY, 0, 0), 0, why)
    for one in report.undeclared:
        if one.path == view.shown_path(path):
            return _choice(view, one, named=True)
    top = view.open_top()
    try:
        tally = Survey(top, NOBODY_ASKS).measure(path)
    finally:
        os.close(top)
    if tally is None:
        return Choice(Moved(path, Kind.FILE, 0, 0), 0, "there is no such path")
    return _choice(view, undeclared(view, tally), named=True)


# How many paths a sentence names.
_LISTED = 3


def _why_not_stale(view: View, path: bytes) -> str:
    if path == b"/":
        return "it is the persistent storage itself"
    fate = view.expected.fate(path)
    match fate.role:
        case Role.DECLARED:
            declared = view.declared.get(fate.top)
            if declared is None:
                return "it is on the way to what is declared"
            return f"{shown(declared.path)} is declared: {declared.by}"
        case Role.NAMED:
            named = shown(view.shown_path(fate.top))
            return f"the configuration names {named}: {view.named[fate.top]}"
        case Role.OWN:
            return "the store itself needs it: drift's records, a mount, or another store"
    if not fate.leads or not _leads(view, path):
        return ""
    inside = [
        shown(view.shown_path(one))
        for role in (Role.DECLARED, Role.NAMED, Role.OWN)
        for one in view.expected.below(path, role)
    ]
    more = f" and {len(inside) - _LISTED} more" if len(inside) > _LISTED else ""
    return f"it holds what is to stay: {', '.join(inside[:_LISTED])}{more}"


def _leads(view: View, path: bytes) -> bool:
    """Whether it is a directory or a link, so that what is expected below it can be there."""
    host = view.host + path
    return os.path.isdir(host) or os.path.islink(host)


def _of_batch(view: View, batch: Batch, wanted: Sequence[bytes] | None) -> tuple[Choice, ...]:
    by_path = {one.path: one for one in batch.entries}
    chosen = []
    for path in list(by_path) if wanted is None else wanted:
        one = by_path.get(path)
        if one is None:
            missing = Moved(path, Kind.FILE, 0, 0)
            chosen.append(Choice(missing, 0, f"the quarantine of {batch.date} does not have it"))
        elif _is_there(view, path):
            chosen.append(Choice(one, 0, "something else is in its place now"))
        else:
            chosen.append(Choice(one, 0))
    return tuple(chosen)


def _is_there(view: View, path: bytes) -> bool:
    above, _, name = path.rpartition(b"/")
    top = view.open_top()
    try:
        parent = open_beneath(top, above, DIRECTORY)
    except OSError:
        return False
    finally:
        os.close(top)
    try:
        return exists(name, parent)
    finally:
        os.close(parent)
