"""From the paths that a program wrote to the rules it would need; no I/O."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

from drift.live_root import is_dynamic
from drift.model import Kind, Severity, Status, Verdict
from drift.names import exact, printable
from drift.places import ancestors, cached, filled_by_nixos, in_private, parent_of, shared
from drift.rulebook.naming import read_path
from drift.rulebook.rule import Rule, RuleKind
from drift.system.mounts import within

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from drift.model import Change
    from drift.rulebook import RuleBook

EXAMPLES = 3

# Where whoever uses the machine keeps files of their own, which are no program's state.
_PEOPLES = (b"/", b"/home", b"/media", b"/mnt", b"/srv")
# What programs keep while they run.
_PASSING = re.compile(rb"(^|[._-])(lock|pid|sock|socket|tmp)$", re.IGNORECASE)
_ACCOUNT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\$?")

_DIRECTORIES = (Kind.DIRECTORY, Kind.SUBVOLUME)


class Accounts(Protocol):
    def user_name(self, uid: int) -> str: ...
    def group_name(self, gid: int) -> str: ...
    def home_of(self, path: bytes) -> tuple[str, bytes] | None: ...
    @property
    def home_directories(self) -> tuple[bytes, ...]: ...


class Regenerated(Protocol):
    def reason(self, path: bytes, kind: Kind, target: bytes | None = None) -> str | None: ...


class Known(NamedTuple):
    """What decides about a path already; `anchor` is the path that the decision speaks for."""

    service: str
    verdict: Verdict
    why: str
    rule: str
    anchor: bytes


@dataclass(slots=True)
class Draft:
    """A rule that is missing, the path it was made for, and what was written there."""

    anchor: bytes
    rule: Rule
    changes: list[Change] = field(default_factory=list)


def decide(
    change: Change,
    book: RuleBook,
    regenerated: Regenerated,
    homes: Collection[bytes],
    stores: Collection[bytes],
) -> Known | None:
    """What decides about a path, before any rule that is yet to be written.

    `stores` are those that outlive the root.
    """
    for store in stores:
        if within(change.path, store):
            reason = "it lies in persistent storage"
            return Known("persisted", Verdict.KEPT, reason, f"heuristic: {reason}", store)
    decision = book.decide(change.path, change.kind, homes)
    if decision is not None:
        rule = decision.rule
        return Known(rule.service, rule.verdict, rule.why, rule.origin, decision.anchor)
    again = regenerated.reason(change.path, change.kind, change.target)
    if again is None:
        return None
    return Known("NixOS", Verdict.REGENERATED, again, f"heuristic: {again}", change.path)


def draft(
    service: str,
    written: Sequence[tuple[Change, Known | None]],
    accounts: Accounts,
    stores: Collection[bytes],
    owner_of: Callable[[bytes], tuple[int, int, int] | None],
    book: RuleBook,
) -> list[Draft]:
    """The rules for what nothing decides, by path.

    A rule speaks for the topmost directory that is one program's, new or not, else for a file.
    `owner_of` tells uid, gid and mode of a path. Verdicts are guesses from names, `why` is for the
    user to fill in. Examples are paths that no rule of `book` decides.
    """
    anchors = _Anchors(written, accounts.home_directories, stores)
    found: dict[bytes, Draft] = {}
    for change, known in written:
        place = None if known is not None else anchors.of(change)
        if place is None:
            continue
        anchor, kind = place
        if anchor not in found:
            rule = _rule(service, anchor, kind, change, accounts, owner_of)
            found[anchor] = Draft(anchor, rule)
        found[anchor].changes.append(change)
    return [
        replace(one, rule=one.rule._replace(examples=_examples(one.changes, accounts, book)))
        for _, one in sorted(found.items(), key=lambda item: item[0].split(b"/"))
    ]


def rules_of(drafts: Iterable[Draft]) -> list[Rule]:
    """Each rule once: what lies in two homes is one pattern."""
    by_pattern: dict[str, Rule] = {}
    for one in drafts:
        by_pattern.setdefault(one.rule.pattern, one.rule)
    return list(by_pattern.values())


class _Anchors:
    """Finds the path that a rule for a change is to speak for."""

    def __init__(
        self,
        written: Sequence[tuple[Change, Known | None]],
        homes: Collection[bytes],
        stores: Collection[bytes],
    ) -> None:
        self._homes = homes
        self._stores = stores
        self._new = {
            change.path
            for change, _ in written
            if change.kind in _DIRECTORIES and change.status in (Status.ADDED, Status.RENAMED)
        }
        self._above = {above for change, _ in written for above in ancestors(change.path)}

    def of(self, change: Change) -> tuple[bytes, RuleKind] | None:
        """The path, and how it is to be matched; None for a directory that says nothing itself."""
        path = change.path
        is_directory = change.kind in _DIRECTORIES
        if is_directory and (path in self._above or self._is_shared(path)):
            return None
        way = [*ancestors(path), *([path] if is_directory else [])]
        while way and self._is_shared(way[0]):
            way.pop(0)
        place = next((one for one in way if one in self._new), None)
        if way and place != way[0] and self._is_a_programs(way[0]):
            place = way[0]
        below = way if place is None else way[way.index(place) :]
        cache = next((one for one in below if cached(one, self._homes)), None)
        if place is None and not is_directory:
            return path, RuleKind.FILE
        return cache or place or path, RuleKind.DIRECTORY

    def _is_shared(self, path: bytes) -> bool:
        if shared(path, self._homes) or path in self._stores:
            return True
        return any(within(store, path) for store in self._stores)

    def _is_a_programs(self, directory: bytes) -> bool:
        """Whether a directory that was there before belongs to one program."""
        above, name = parent_of(directory), directory.rpartition(b"/")[2]
        if above in self._homes:
            return name.startswith(b".")
        return not (above in _PEOPLES or above in self._stores or filled_by_nixos(directory))


def _rule(
    service: str,
    anchor: bytes,
    kind: RuleKind,
    change: Change,
    accounts: Accounts,
    owner_of: Callable[[bytes], tuple[int, int, int] | None],
) -> Rule:
    passing = (
        cached(anchor, accounts.home_directories)
        or change.kind in (Kind.FIFO, Kind.SOCKET)
        or (kind is RuleKind.FILE and _PASSING.search(anchor.rpartition(b"/")[2]) is not None)
    )
    verdict = Verdict.EPHEMERAL if passing else Verdict.PERSIST
    why = "TODO: say why it is safe to lose" if passing else "TODO: say what would be lost"
    user, group, mode = (None, None, None) if passing else _owner(anchor, kind, accounts, owner_of)
    return Rule(
        service=printable(service),
        title=printable(service),
        nixos=None,
        verdict=verdict,
        severity=Severity.LOW if passing else Severity.NORMAL,
        why=why,
        pattern=_pattern(anchor, accounts),
        kind=kind,
        origin="",
        user=user,
        group=group,
        mode=mode,
        replaced=kind is RuleKind.FILE and change.replaced and not passing,
    )


def _owner(
    anchor: bytes,
    kind: RuleKind,
    accounts: Accounts,
    owner_of: Callable[[bytes], tuple[int, int, int] | None],
) -> tuple[str | None, str | None, int | None]:
    """User, group and mode of a rule, each None where it is what the modules give anyway.

    In a home they give all to its user: what root has there shows only who ran the program.
    """
    ids = owner_of(anchor)
    if ids is None:
        return None, None, None
    uid, gid, mode = ids
    # systemd hands what a DynamicUser= service has to the user of the moment at each start.
    usual = accounts.home_of(anchor) is not None or (in_private(anchor) and is_dynamic(uid))
    return (
        None if usual or uid == 0 else _name(accounts.user_name(uid), uid),
        None if usual or gid == 0 else _name(accounts.group_name(gid), gid),
        None if mode == (0o755 if kind is RuleKind.DIRECTORY else 0o644) else mode,
    )


def _name(name: str, number: int) -> str:
    return name if _ACCOUNT.fullmatch(name) else str(number)


def _pattern(path: bytes, accounts: Accounts) -> str:
    """A pattern for one path: what a rule file can't say of a name is any letter there."""
    text = _from_home(path, accounts)
    return "".join(
        "?" if letter in "*?" or "\udc80" <= letter <= "\udcff" else letter for letter in text
    )


def _from_home(path: bytes, accounts: Accounts) -> str:
    home = accounts.home_of(path)
    return exact(path) if home is None else "~" + exact(path[len(home[1]) :])


def _examples(changes: Sequence[Change], accounts: Accounts, book: RuleBook) -> tuple[str, ...]:
    by_kind: defaultdict[bool, list[str]] = defaultdict(list)
    for change in changes:
        is_directory = change.kind in _DIRECTORIES
        text = _from_home(change.path, accounts) + "/" * is_directory
        by_kind[is_directory].append(text)
    candidates = dict.fromkeys([*by_kind[False], *by_kind[True]])
    told = (text for text in candidates if _is_unicode(text) and not _decided(text, book))
    return tuple(text for text, _ in zip(told, range(EXAMPLES), strict=False))


def _is_unicode(text: str) -> bool:
    return not any("\udc80" <= letter <= "\udcff" for letter in text)


def _decided(text: str, book: RuleBook) -> bool:
    # As `drift rules check` reads an example, which knows neither its kind nor the home.
    return book.decide(*read_path(text)) is not None
