"""Choose what keeps an entry: itself, a directory above it, or only advice; no I/O."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from drift import caveats
from drift.caveats import Wanted
from drift.model import Kind, Status, Verdict
from drift.places import PRIVATE, ancestors, parent_of, private_twin
from drift.suggestion import Advice
from drift.system.mounts import within

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from drift.live_root import LiveRoot
    from drift.report import Entry


class Choice:
    """Collects what to persist, and what to say where that can't be done."""

    def __init__(self, root: LiveRoot, stores: Collection[bytes]) -> None:
        self.root = root
        self.stores = stores
        self.wanted: list[Wanted] = []
        self.advice: set[Advice] = set()

    def advise(self, entry: Entry) -> None:
        """Pass on what the rule says to do besides, or instead."""
        said = entry.finding.advice
        if said and not _speaks_of_private(entry) and not self.root.is_kept(entry.path):
            self.say(entry.path, said)

    def say(self, path: bytes, text: str) -> None:
        self.advice.add(Advice(path, text))

    def place(self, entry: Entry) -> None:
        """Decide what keeps the entry: itself, a directory above it, or only advice."""
        path, root = entry.path, self.root
        if root.is_kept(path) or is_stub(entry, root) or self.is_stores(entry):
            return
        if entry.status is Status.DELETED:
            self.say(path, caveats.DELETED)
            return
        if entry.kind is Kind.SUBVOLUME:
            self.say(path, caveats.SUBVOLUME)
        if self._take_private_twin(entry) or self._take_anchor(entry):
            return
        if entry.kind in (Kind.DIRECTORY, Kind.SUBVOLUME):
            self._take_directory(entry)
        elif entry.kind is not Kind.FILE:
            self.say(path, entry.finding.advice or caveats.not_persistable(entry.kind))
        elif entry.finding.replaced:
            self._take_replaced(entry, entry.finding.advice or caveats.REPLACED)
        elif (seen := self._seen_replaced(entry)) is not None:
            self.advise(entry)
            self._take_replaced(entry, seen)
        else:
            self.advise(entry)
            self._want(entry)

    def is_stores(self, entry: Entry) -> bool:
        """Whether it is a store, in one, or what holds one: said, as a store can't hold itself."""
        for store in self.stores:
            if self.root.is_kept(store):
                continue
            if within(entry.path, store) or within(store, entry.path):
                self.say(store, caveats.STORE_ON_ROOT)
                return True
        return False

    def _take_private_twin(self, entry: Entry) -> bool:
        """A DynamicUser= service's directory is only a link: take what it points to."""
        twin = private_twin(entry.path)
        if twin is None or not (entry.kind is Kind.SYMLINK or _speaks_of_private(entry)):
            return False
        if self.root.directory_ids(twin) is None:
            if entry.kind is not Kind.SYMLINK:
                # The service has a user of its own here, or never ran as it is declared now.
                self.say(entry.path, caveats.not_private(twin))
            return False
        if not self.root.is_kept(twin):
            self._want_directory(twin, entry, counted=entry.kind is not Kind.SYMLINK)
        return True

    def _take_anchor(self, entry: Entry) -> bool:
        """Where the rule speaks for a directory, the directory is what to keep."""
        anchor = entry.finding.anchor
        if entry.finding.verdict is not Verdict.PERSIST or anchor not in ancestors(entry.path):
            return False
        if (
            self.root.is_shared(anchor, anchored=True)
            or self.root.is_above_kept(anchor)
            or self.root.would_hide(anchor)
            or anchor in PRIVATE
        ):
            return False
        if self.root.directory_ids(anchor) is None:
            return False
        self._want_directory(anchor, entry)
        return True

    def _take_directory(self, entry: Entry) -> None:
        anchored = entry.finding.anchor == entry.path
        if self.root.is_shared(entry.path, anchored=anchored):
            self.say(entry.path, entry.finding.advice or caveats.SHARED)
            return
        if self.root.would_hide(entry.path):
            if entry.files:
                self.say(entry.path, entry.finding.advice or caveats.FILLED)
            return
        if entry.files == 0 and entry.kind is Kind.DIRECTORY and self._only_leads_to_parts(entry):
            return
        self.advise(entry)
        self._want(entry)

    def _only_leads_to_parts(self, entry: Entry) -> bool:
        """Whether a directory with nothing of its own is better kept by what is named in it."""
        if entry.path in PRIVATE:
            return True
        return self.root.is_mixed(entry.path) and not self.root.is_shared(entry.path)

    def _seen_replaced(self, entry: Entry) -> str | None:
        """What shows that the program replaces the file, though no rule says so."""
        if entry.replaced:
            return caveats.SEEN_REPLACED
        names = self.root.names_in(parent_of(entry.path))
        beside = temporary_beside(entry.path.rpartition(b"/")[2], names)
        return None if beside is None else caveats.written_beside(beside)

    def _take_replaced(self, entry: Entry, otherwise: str) -> None:
        """rename() onto a bind-mounted file fails: keep the directory, or link, or say so."""
        directory = parent_of(entry.path)
        if not (
            self.root.is_shared(directory)
            or self.root.is_above_kept(directory)
            or self.root.would_hide(directory)
        ):
            self._want_directory(directory, entry)
        elif entry.finding.method == "symlink":
            self._want(entry, method="symlink")
        else:
            self.say(entry.path, otherwise)

    def _want(self, entry: Entry, method: str | None = None) -> None:
        directory = entry.kind is not Kind.FILE
        owner = (
            self.root.owner(entry.path, (entry.uid, entry.gid, entry.mode))
            if entry.mode
            else self.root.owner_of_directory(entry.path, entry.finding)
        )
        self.wanted.append(
            Wanted(
                path=entry.path,
                directory=directory,
                owner=owner,
                uid=entry.uid,
                finding=entry.finding,
                files=entry.files,
                bytes=entry.bytes,
                method=method or entry.finding.method or "auto",
            )
        )

    def _want_directory(self, path: bytes, entry: Entry, *, counted: bool = True) -> None:
        ids = self.root.directory_ids(path)
        self.wanted.append(
            Wanted(
                path=path,
                directory=True,
                owner=self.root.owner_of_directory(path, entry.finding),
                uid=0 if ids is None else ids[0],
                finding=entry.finding,
                files=entry.files if counted else 0,
                bytes=entry.bytes if counted else 0,
            )
        )


# What programs and editors call the file that is to take the place of `%s`. Six letters after the
# name are mkstemp's, sixteen after `.#` systemd's.
_TEMPORARY = (
    rb"\.?%s\.(?:tmp|temp|new|TMP|NEW|tmp[.-]?\w+|[0-9]+\.tmp|(\w{6}))"
    rb"|\.%s\.?(\w{6})|\.%s\.sw[a-p]|\.#%s[0-9a-f]{16}"
)


def temporary_beside(name: bytes, names: Iterable[bytes]) -> bytes | None:
    """The first of `names` that looks like a file which is to be renamed to `name`."""
    # Most directories have none that even contains the name.
    candidates = sorted(other for other in names if name in other and other != name)
    if not candidates:
        return None
    quoted = re.escape(name)
    pattern = re.compile(_TEMPORARY % ((quoted,) * 4))
    for other in candidates:
        found = pattern.fullmatch(other)
        if found is not None and all(_is_random(part) for part in found.groups() if part):
            return other
    return None


def _is_random(part: bytes) -> bool:
    """Whether six letters are mkstemp's rather than an ending as `backup` or `sha256`."""
    text = part.decode(errors="replace")
    return any(map(str.isupper, text)) and not text.isupper() and not text.istitle()


def is_stub(entry: Entry, root: LiveRoot) -> bool:
    """Whether this is an empty directory that only leads to something kept."""
    return entry.kind is Kind.DIRECTORY and entry.files == 0 and root.is_above_kept(entry.path)


def _speaks_of_private(entry: Entry) -> bool:
    return re.search(r"/var/(lib|cache|log)/private\b", entry.finding.advice or "") is not None
