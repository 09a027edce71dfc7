"""Decide what each change means: lost state, regenerated, kept, or for the user to look at."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

from drift.diff.stream import Block, Links, Subtree, change_of_row
from drift.model import Change, Kind, Severity, Status, Verdict
from drift.names import shown
from drift.places import ancestors, parent_of, shared
from drift.report import Entry, Finding, Hidden
from drift.rulebook.rule import Layer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from drift.diff.stream import Found
    from drift.rulebook import Position, Rule
    from drift.system.mounts import MountPoint

# What decided where nothing else did.
UNRECOGNISED = "heuristic: unrecognised"
# Directory states kept for the next change; changes come directory by directory.
STATES_KEPT = 8192


class Owners(Protocol):
    def user_name(self, uid: int) -> str: ...


class Regenerated(Protocol):
    """What comes back by itself: `known` paths, and links by their target.

    `edited` are files that are made again, but not as they are now: each with the reason.
    """

    @property
    def known(self) -> Mapping[bytes, object]: ...
    @property
    def edited(self) -> Mapping[bytes, str]: ...
    def reason(self, path: bytes, kind: Kind, target: bytes | None = None) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Facts:
    """What the machine itself says, beside the rules; `homes` are directories of people.

    `planned` are mount points of a root that isn't running now, `stores` where persistent storage
    is mounted. `declared` has a finding for each persisted path and all below it, `told` one for
    a single path, which goes before every rule.
    """

    homes: tuple[bytes, ...] = ()
    mounts: tuple[MountPoint, ...] = ()
    regenerated: Regenerated | None = None
    owners: Owners | None = None
    planned: frozenset[bytes] = frozenset()
    stores: tuple[bytes, ...] = ()
    declared: Mapping[bytes, Finding] = field(default_factory=dict)
    told: Mapping[bytes, Finding] = field(default_factory=dict)


class Place(NamedTuple):
    """What is known of a directory before its entries are looked at.

    `under` is the mount point that hides it; `anchor` the topmost directory above it (or itself)
    that is new and that nothing recognises, with the finding for all of it. `declared` is the
    finding for a persisted path that it is or lies in; `known_below` says that the machine has
    something to say about single entries of it.
    """

    position: Position
    under: bytes | None
    anchor: Finding | None
    declared: Finding | None
    known_below: bool


@dataclass(slots=True)
class _HiddenSum:
    files: int = 0
    bytes: int = 0
    newest: int = 0


class Judge:
    """Takes the stream of changes, in which a directory comes before its entries, and sums it up."""

    def __init__(self, start: Position, facts: Facts) -> None:
        self._facts = facts
        self._covered = {point.path for point in facts.mounts} | facts.planned
        self._above_kept = {
            above for path in (*self._covered, *facts.declared) for above in ancestors(path)
        }
        self._known = facts.regenerated.known if facts.regenerated is not None else {}
        self._edited = facts.regenerated.edited if facts.regenerated is not None else {}
        self._known_parents = {
            parent_of(path).rstrip(b"/")
            for paths in (self._known, self._edited, facts.told, facts.declared)
            for path in paths
        }
        self._above_told = {
            above
            for paths in (self._known, self._edited, facts.told, facts.declared)
            for path in paths
            for above in ancestors(path)
        }
        self._places = {b"": Place(start, None, None, None, b"" in self._known_parents)}
        self._start = self._places[b""]
        self._new: dict[bytes, Finding] = {}
        # The directories that `whole` said yes to.
        self._wholes: set[bytes] = set()
        self._links: dict[tuple[bytes, str], Finding] = {}
        self._entries: dict[tuple[bytes, str, Verdict], Entry] = {}
        self._hidden: dict[bytes, _HiddenSum] = {}
        self.counts = {"changed": 0, **{verdict.value: 0 for verdict in Verdict}}

    def feed(self, item: Found) -> None:
        if isinstance(item, Block):
            self._feed_block(item)
        elif isinstance(item, Subtree):
            self._feed_subtree(item)
        elif isinstance(item, Links):
            self._feed_links(item)
        else:
            self._feed_change(item)

    def whole(self, change: Change) -> bool:
        """Whether everything below a new directory has one and the same finding.

        It is asked ahead of the stream, parents first, and remembers what decides below.
        """
        path = change.path
        directory, _, name = path.rpartition(b"/")
        above = self._place(directory)
        if above.under is None and path not in self._covered:
            self._decide(change, above, name)
        if path in self._above_told or path in self._above_kept:
            return False
        place = self._place(path)
        whole = place.under is not None or (
            (place.declared or place.anchor or place.position.rule) is not None
            and place.position.final
        )
        if whole:
            self._wholes.add(path)
        return whole

    def entries(self) -> list[Entry]:
        """What was found, once all is fed: one entry for each path that a decision speaks for.

        An unknown directory that holds nothing but what other entries speak for is no loss.
        """
        entries = list(self._entries.values())
        above = {place for entry in entries for place in ancestors(entry.path)}
        for entry in entries:
            if (
                entry.finding.rule == UNRECOGNISED
                and not entry.files
                and entry.kind is Kind.DIRECTORY
                and entry.path in above
            ):
                self.counts[Verdict.REVIEW] -= entry.changes
                self.counts[Verdict.REGENERATED] += entry.changes
                entry.finding = _made_again(entry.path, "a directory for what lies in it")
        return entries

    def hidden(self) -> list[Hidden]:
        return [
            Hidden(path, path, total.files, total.bytes, total.newest)
            for path, total in sorted(self._hidden.items())
            if total.files
        ]

    def needs_content(self, path: bytes) -> bool:
        """Whether it matters if two files at `path` are equal: not where their loss is none."""
        place = self._place(parent_of(path).rstrip(b"/"))
        if path in self._facts.told or path in self._edited:
            return True
        if place.under is not None or place.declared is not None or path in self._known:
            return False
        rule, _ = place.position.entry(path.rpartition(b"/")[2], Kind.FILE)
        return rule is None or rule.verdict in (Verdict.PERSIST, Verdict.REVIEW)

    # One change.

    def _feed_change(self, change: Change) -> None:
        path = change.path
        if path == b"/":
            self._count(Verdict.REGENERATED, 1)
            self._add(change, _made_again(path, "the top directory, restored with the blank"))
            return
        if change.kind is Kind.SYMLINK:
            below = self._below_whole(change)
            if below is not None:
                self._count(below.verdict, 1)
                self._add(change, below)
                return
        directory, _, name = path.rpartition(b"/")
        place = self._place(directory)
        if place.under is not None:
            self._hide(place.under, change)
            return
        if path in self._covered:
            self._count(Verdict.KEPT, 1)
            return
        finding = self._decide(change, place, name)
        self._count(finding.verdict, 1)
        self._add(change, finding)

    def _below_whole(self, change: Change) -> Finding | None:
        """What `_decide` says of a symlink below a directory that is one thing but for such links.

        They are many, and there is no need to look at the directory of each. None elsewhere.
        """
        path, target = change.path, change.target
        top = path.rpartition(b"/")[0]
        while top and top not in self._wholes:
            top = top.rpartition(b"/")[0]
        if not top or change.status is not Status.ADDED or target is None:
            return None
        place = self._place(top)
        if place.under is not None or place.declared is not None:
            return place.declared
        regenerated = self._facts.regenerated
        reason = None if regenerated is None else regenerated.reason(path, change.kind, target)
        if reason is not None:
            return self._of_links(place, top, reason)
        stored = self._into_store(path, target)
        return self._of_place(place, top) if stored is None else stored

    def _decide(self, change: Change, place: Place, name: bytes) -> Finding:
        path, kind = change.path, change.kind
        if change.status is Status.DELETED:
            return _made_again(path, "deleted here; the blank brings it back")
        declared = place.declared or self._facts.declared.get(path)
        if declared is not None:
            return declared
        if kind in (Kind.DIRECTORY, Kind.SUBVOLUME):
            return self._decide_directory(change, place, name)
        told = self._facts.told.get(path)
        if told is not None:
            return told
        reason = self._why_regenerated(change, place)
        if reason is not None:
            rule, depth = place.position.entry(name, kind)
            spoken_for = (place.position.rule or place.anchor) is not None
            for_itself = path in self._known or (rule is not None and depth == path.count(b"/"))
            if kind is Kind.SYMLINK and spoken_for and not for_itself:
                # Thousands of them in a directory that somebody keeps are no news each.
                anchor = self._of_place(place, path.rpartition(b"/")[0]).anchor
                return _links_made_again(anchor, reason)
            return _again_or_ruled(path, reason, rule, depth)
        if kind is Kind.SYMLINK and change.target is not None:
            stored = self._into_store(path, change.target)
            if stored is not None:
                return stored
        rule, depth = place.position.entry(name, kind)
        edit = self._edited.get(path) if kind is Kind.FILE else None
        if edit is not None:
            return _edited(path, edit, rule, depth)
        if rule is not None:
            return _ruled(rule, path, depth)
        if place.anchor is not None:
            return place.anchor
        if kind in (Kind.SOCKET, Kind.FIFO):
            return _guess(
                path, Verdict.EPHEMERAL, f"a {kind}, made again by its program", Severity.LOW
            )
        return self._unknown(change, "not recognised")

    def _why_regenerated(self, change: Change, place: Place) -> str | None:
        if self._facts.regenerated is None:
            return None
        if not place.known_below and change.kind is not Kind.SYMLINK:
            return None
        return self._facts.regenerated.reason(change.path, change.kind, change.target)

    def _decide_directory(self, change: Change, place: Place, name: bytes) -> Finding:
        path = change.path
        position = place.position.enter(name)
        if position.rule is not None:
            return _ruled(position.rule, path, position.depth)
        if place.anchor is not None:
            return place.anchor
        if path in self._facts.homes:
            return _made_again(path, "a home, made when its user is")
        if shared(path, self._facts.homes):
            return _made_again(path, "a directory that every system has")
        if path in self._above_kept:
            return _made_again(path, "a directory above what is mounted or persisted")
        reason = self._why_regenerated(change, place)
        if reason is not None:
            if change.status is Status.ADDED:
                # It is made again, but empty: what lies in it is new and unknown all the same.
                self._new[path] = self._unknown(change, "not recognised")
            return _made_again(path, reason)
        if change.kind is Kind.SUBVOLUME and change.target is not None:
            of = shown(change.target)
            finding = self._unknown(change, f"a snapshot of {of}, which the rollback deletes")
        elif change.kind is Kind.SUBVOLUME:
            finding = self._unknown(change, "a nested subvolume, which the rollback deletes")
        elif change.status is Status.ADDED:
            finding = self._unknown(change, "not recognised")
        elif change.status is Status.PROPERTIES:
            return self._unknown(change, "its owner, mode or attributes changed")
        else:
            return self._unknown(change, "not recognised")
        self._new[path] = finding
        return finding

    def _unknown(self, change: Change, why: str) -> Finding:
        """Nothing says what it is; the owner may name the service."""
        path = change.path
        owners = self._facts.owners
        service, title = "unrecognised", "Not recognised"
        at_home = any(path.startswith(home + b"/") for home in self._facts.homes)
        if owners is not None and change.uid != 0 and not at_home:
            name = owners.user_name(change.uid)
            if not name.isdecimal() and name != "nobody":
                return Finding(
                    name,
                    f"Files of {name}",
                    Verdict.REVIEW,
                    Severity.NORMAL,
                    f"{why}; it belongs to {name}",
                    f"heuristic: owner {name}",
                    path,
                )
        return Finding(service, title, Verdict.REVIEW, Severity.NORMAL, why, UNRECOGNISED, path)

    def _into_store(self, path: bytes, target: bytes) -> Finding | None:
        if not target.startswith(b"/"):
            return None
        for store in self._facts.stores:
            if target.startswith(store + b"/"):
                return kept(path, f"a link into {shown(store)}", "link into persistent storage")
        return None

    # Many files at once.

    def _feed_block(self, block: Block) -> None:
        directory = block.directory[:-1]
        place = self._place(directory)
        if place.under is not None:
            for change in block.changes():
                self._hide(place.under, change)
            return
        alone = place.declared is None and place.anchor is None and place.position.rule is None
        if (
            alone
            or place.position.decides_entries
            or place.known_below
            or block.status is not Status.ADDED
        ):
            for change in block.changes():
                self._feed_change(change)
            return
        finding = self._of_place(place, directory)
        count = len(block.names)
        self._count(finding.verdict, count)
        entry = self._entry(finding)
        entry.sole = block.directory + block.names[0] if count == 1 and not entry.files else None
        entry.files += count
        entry.changes += count
        entry.bytes += sum(block.sizes())
        entry.newest = max(entry.newest, block.newest())

    def _feed_links(self, links: Links) -> None:
        """Most of them are made again, for very few reasons: those of each reason are one sum."""
        regenerated = self._facts.regenerated
        place = self._place(links.top)
        one_thing = links.top in self._wholes and place.under is None and place.declared is None
        if regenerated is None or not one_thing or links.status is not Status.ADDED:
            for change in links.changes():
                self._feed_change(change)
            return
        columns = links.columns
        by_reason: dict[str, list[tuple[bytes, int]]] = {}
        for path, row in zip(links.paths, links.rows, strict=True):
            target = columns.targets.get(row)
            reason = None if target is None else regenerated.reason(path, Kind.SYMLINK, target)
            if reason is not None:
                by_reason.setdefault(reason, []).append((path, row))
            else:
                self._feed_change(change_of_row(links.status, path, columns, row, Kind.SYMLINK))
        for reason, alike in by_reason.items():
            finding = self._of_links(place, links.top, reason)
            self._count(finding.verdict, len(alike))
            entry = self._entry(finding)
            entry.changes += len(alike)
            entry.files += len(alike)
            entry.newest = max(entry.newest, *(columns.mtime(row) for _, row in alike))
            entry.sole = alike[0][0] if entry.files == 1 else None

    def _of_links(self, place: Place, top: bytes, reason: str) -> Finding:
        """The finding for links below `top`, at `place`, that are made again for `reason`."""
        finding = self._links.get((top, reason))
        if finding is None:
            finding = _links_made_again(self._of_place(place, top).anchor, reason)
            self._links[top, reason] = finding
        return finding

    def _feed_subtree(self, subtree: Subtree) -> None:
        count = subtree.directories + subtree.files
        if not count:
            return
        place = self._place(subtree.path)
        if place.under is not None:
            self._count(Verdict.KEPT, count)
            total = self._hidden.setdefault(place.under, _HiddenSum())
            total.files += subtree.files
            total.bytes += subtree.bytes
            total.newest = max(total.newest, subtree.newest)
            return
        finding = self._of_place(place, subtree.path)
        self._count(finding.verdict, count)
        entry = self._entry(finding)
        if subtree.files:
            entry.sole = None if entry.files else subtree.sole
        entry.files += subtree.files
        entry.changes += count
        entry.bytes += subtree.bytes
        entry.newest = max(entry.newest, subtree.newest)

    def _of_place(self, place: Place, directory: bytes) -> Finding:
        """The finding for what nothing else decides in a directory that a finding speaks for."""
        rule = place.position.rule
        finding = place.declared or (
            place.anchor if rule is None else _ruled(rule, directory, place.position.depth)
        )
        assert finding is not None
        return finding

    # Sums.

    def _count(self, verdict: Verdict, number: int) -> None:
        self.counts["changed"] += number
        self.counts[verdict] += number

    def _add(self, change: Change, finding: Finding) -> None:
        entry = self._entry(finding)
        entry.changes += 1
        if change.path == entry.path:
            entry.kind, entry.status = change.kind, change.status
            entry.uid, entry.gid, entry.mode = change.uid, change.gid, change.mode
            entry.replaced = change.replaced
            entry.seen = True
        if change.kind not in (Kind.DIRECTORY, Kind.SUBVOLUME):
            entry.files += 1
            entry.newest = max(entry.newest, change.mtime)
            if change.kind is Kind.FILE:
                entry.bytes += change.size
            entry.sole = change.path if entry.files == 1 else None

    def _entry(self, finding: Finding) -> Entry:
        key = (finding.anchor, finding.rule, finding.verdict)
        entry = self._entries.get(key)
        if entry is None:
            entry = Entry(finding.anchor, Kind.DIRECTORY, Status.MODIFIED, finding)
            self._entries[key] = entry
        return entry

    def _hide(self, under: bytes, change: Change) -> None:
        self._count(Verdict.KEPT, 1)
        if change.status is Status.DELETED or change.kind in (Kind.DIRECTORY, Kind.SUBVOLUME):
            return
        total = self._hidden.setdefault(under, _HiddenSum())
        total.files += 1
        total.newest = max(total.newest, change.mtime)
        if change.kind is Kind.FILE:
            total.bytes += change.size

    # Where a change lies.

    def _place(self, directory: bytes) -> Place:
        known = self._places.get(directory)
        if known is not None:
            return known
        if len(self._places) > STATES_KEPT:
            self._places.clear()
            self._places[b""] = self._start
        missing = []
        path = directory
        while (place := self._places.get(path)) is None:
            path, _, name = path.rpartition(b"/")
            missing.append(name)
        for name in reversed(missing):
            path = path + b"/" + name
            place = self._below(place, path, name)
            self._places[path] = place
        return place

    def _below(self, above: Place, path: bytes, name: bytes) -> Place:
        under = above.under
        if under is None and path in self._covered:
            under = path
        return Place(
            above.position.enter(name),
            under,
            self._new.get(path, above.anchor),
            self._facts.declared.get(path, above.declared),
            path in self._known_parents,
        )


def _ruled(rule: Rule, path: bytes, depth: int) -> Finding:
    anchor = b"/".join(path.split(b"/")[: depth + 1]) or b"/"
    return Finding(
        rule.service,
        rule.title,
        rule.verdict,
        rule.severity,
        rule.why,
        rule.origin,
        anchor,
        rule.user,
        rule.group,
        rule.mode,
        rule.replaced,
        rule.method,
        rule.advice,
    )


def kept(path: bytes, why: str, by: str) -> Finding:
    """What survives already, for a path that something other than a mount keeps."""
    return Finding("persisted", "Kept already", Verdict.KEPT, Severity.LOW, why, by, path)


def _again_or_ruled(path: bytes, reason: str, rule: Rule | None, depth: int) -> Finding:
    """What is made again: the fact, with what a rule for this very path knows besides.

    A rule of the user's for this very path decides.
    """
    if rule is None or depth != path.count(b"/"):
        return _made_again(path, reason)
    if rule.verdict is Verdict.REGENERATED or rule.layer > Layer.SHIPPED:
        return _ruled(rule, path, depth)
    return _made_again(path, reason)


def _edited(path: bytes, reason: str, rule: Rule | None, depth: int) -> Finding:
    """A file that activation overwrites although it holds more than the configuration says."""
    if rule is None or rule.verdict is Verdict.REGENERATED:
        service = ("NixOS", "Edited by hand") if rule is None else (rule.service, rule.title)
        return Finding(
            *service,
            Verdict.REVIEW,
            Severity.HIGH,
            reason,
            "heuristic: edited",
            path,
            advice="move the edit into the configuration: activation replaces this file",
        )
    ruled = _ruled(rule, path, depth)
    return replace(ruled, why=f"{ruled.why}; {reason}")


def _made_again(path: bytes, why: str) -> Finding:
    return _guess(path, Verdict.REGENERATED, why, Severity.LOW)


def _links_made_again(directory: bytes, reason: str) -> Finding:
    return _made_again(directory, reason.replace("a link", "links", 1))


def _guess(path: bytes, verdict: Verdict, why: str, severity: Severity) -> Finding:
    title = {Verdict.REGENERATED: "Made again at boot"}.get(verdict, "Safe to lose")
    service = {Verdict.REGENERATED: "NixOS"}.get(verdict, "temporary")
    return Finding(service, title, verdict, severity, why, f"heuristic: {why}", path)
