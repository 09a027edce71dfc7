"""What the data sets hold and what is changed in them, with the truth about it; no I/O.

A tree is scattered like a root filesystem: about twelve files a directory, most of them so small
that Btrfs keeps them in its metadata, a few large; several owners, links and xattrs.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

FILES_PER_DIRECTORY = 12
KIB = 1024
MIB = 1024 * KIB

# Share of the files in percent, and the range of their sizes, in which it is drawn by magnitude.
SIZES = (
    (8.0, 0, 0),
    (80.0, 16, 1800),
    (10.4, 2 * KIB, 8 * KIB),
    (1.5, 8 * KIB, 32 * KIB),
    (0.1, 64 * KIB, 1 * MIB),
)
LARGEST = 50 * MIB
LARGEST_COUNT = 3

SYMLINKS_IN = 25
LINKS_IN = 100
XATTRS_IN = 50

# Where the entries lie: (place, weight, uid, gid).
PLACES = (
    ("etc", 4, 0, 0),
    ("root", 1, 0, 0),
    ("srv/www", 3, 60, 60),
    ("opt/vendor", 4, 0, 0),
    ("var/cache/nginx", 3, 60, 60),
    ("var/lib/docker/overlay2", 22, 0, 0),
    ("var/lib/postgresql/16/base", 6, 71, 71),
    ("var/lib/jellyfin/metadata", 6, 990, 990),
    ("var/lib/private/example", 2, 61184, 61184),
    ("var/lib/systemd", 1, 0, 0),
    ("var/log/journal", 1, 0, 62),
    ("var/tmp/build", 3, 30001, 30000),
    ("home/alice/.cache/mozilla", 10, 1000, 100),
    ("home/alice/.config", 4, 1000, 100),
    ("home/alice/.local/share", 8, 1000, 100),
    ("home/alice/My Documents", 6, 1000, 100),
    ("home/alice/src/project/node_modules", 12, 1000, 100),
    ("home/bob/.config", 4, 1001, 100),
)

WORDS = (
    *("state", "index", "data", "cache", "config", "session", "module", "package"),
    *("image", "log", "table", "object", "record", "lock", "manifest", "license"),
    *("readme", "main", "test", "core", "util", "font", "icon", "theme"),
)
ENDINGS = ("", ".json", ".db", ".txt", ".js", ".py", ".conf", ".png", ".log", ".toml")


class Directory(NamedTuple):
    path: str
    uid: int
    gid: int
    mode: int


class Entry(NamedTuple):
    """One name: a regular file of `size` bytes, a symlink to `target`, or a link of `origin`."""

    path: str
    uid: int
    gid: int
    mode: int
    size: int
    seed: int
    target: str = ""
    origin: str = ""
    xattr: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    directories: list[Directory]
    entries: list[Entry]


class Act(StrEnum):
    APPEND = "append"
    OVERWRITE = "overwrite"
    HIDE = "overwrite, mtime put back"
    REPLACE = "replace by rename"
    REWRITE = "write the same bytes"
    TOUCH = "touch"
    CREATE = "create"
    DELETE = "delete"
    RENAME = "rename"
    CHMOD = "chmod"
    CHOWN = "chown"
    XATTR = "set an xattr"
    LINK = "add a hard link"
    RETARGET = "retarget a symlink"
    TYPE = "file becomes symlink"
    CREATE_DIRECTORY = "create a directory"
    DELETE_DIRECTORY = "delete a directory"
    RENAME_DIRECTORY = "rename a directory"
    CHMOD_DIRECTORY = "chmod a directory"


# In percent of all changes.
MIX = {
    Act.APPEND: 22,
    Act.OVERWRITE: 13,
    Act.HIDE: 4,
    Act.REPLACE: 11,
    Act.REWRITE: 3,
    Act.TOUCH: 4,
    Act.CREATE: 15,
    Act.DELETE: 9,
    Act.RENAME: 6,
    Act.CHMOD: 5,
    Act.CHOWN: 3,
    Act.XATTR: 2,
    Act.LINK: 1,
    Act.RETARGET: 1,
    Act.TYPE: 1,
}
# One of each for so many changes, on directories with all that they hold.
DIRECTORY_ACT_IN = 1000
DIRECTORY_ACTS = (
    Act.CREATE_DIRECTORY,
    Act.DELETE_DIRECTORY,
    Act.RENAME_DIRECTORY,
    Act.CHMOD_DIRECTORY,
)

STATUS = {
    Act.APPEND: "M",
    Act.OVERWRITE: "M",
    Act.HIDE: "M",
    Act.REPLACE: "M",
    Act.RETARGET: "M",
    Act.CREATE: "A",
    Act.LINK: "A",
    Act.CREATE_DIRECTORY: "A",
    Act.DELETE: "D",
    Act.RENAME: "R",
    Act.CHMOD: "P",
    Act.CHOWN: "P",
    Act.XATTR: "P",
    Act.CHMOD_DIRECTORY: "P",
    Act.TYPE: "T",
}


class Change(NamedTuple):
    """`path` is what is acted on, `new` the name that a rename or a link makes."""

    act: Act
    path: str
    size: int
    seed: int
    new: str = ""


@dataclass(slots=True)
class Truth:
    """What a comparison must say: lines as `drift diff` prints them, without order.

    `times` are the paths about which only times differ: a tool may name them or not. `rewritten`
    counts the files that were written again with the same bytes, which only reading can tell.
    """

    lines: set[str] = field(default_factory=set)
    paths: set[str] = field(default_factory=set)
    times: set[str] = field(default_factory=set)
    rewritten: int = 0

    def add(self, status: str, path: str, source: str = "") -> None:
        self.lines.add(f"R\t/{source}\t/{path}" if source else f"{status}\t/{path}")
        for each in (path, source) if source else (path,):
            self.paths.add(f"/{each}")
            if source or status in "AD":
                self.times.add("/" + each.rpartition("/")[0])

    def text(self) -> bytes:
        """All lines as `drift diff` prints them, sorted by the components of their last path."""
        ordered = sorted(self.lines, key=lambda line: line.rpartition("\t")[2].split("/"))
        return "".join(f"{line}\n" for line in ordered).encode()


def plan(count: int, seed: int = 1) -> Plan:
    """Plan a tree of `count` names that are no directories, and the directories for them."""
    chance = random.Random(seed)
    directories: dict[str, Directory] = {}
    for place, _, uid, gid in PLACES:
        _add_parents(directories, place, uid, gid)
    # Directories that may take further ones; the top of each place, weighted, to begin with.
    open_ones = [directories[place] for place, weight, _, _ in PLACES for _ in range(weight)]
    wanted = max(len(directories) + 1, count // FILES_PER_DIRECTORY)
    for number in range(wanted - len(directories)):
        parent = chance.choice(open_ones)
        path = f"{parent.path}/{chance.choice(WORDS)}-{number:x}"
        mode = chance.choice((0o755, 0o755, 0o755, 0o700, 0o750))
        directories[path] = directory = Directory(path, parent.uid, parent.gid, mode)
        if path.count("/") < 8:
            open_ones.append(directory)
    places = list(directories.values())
    entries = [_entry(chance, places, number) for number in range(count - count // LINKS_IN)]
    files = [entry for entry in entries if not entry.target]
    for number, entry in zip(
        range(LARGEST_COUNT), chance.sample(files, LARGEST_COUNT), strict=True
    ):
        if count >= 2000 * (number + 1):
            entries[entry.seed] = entry._replace(size=LARGEST)
    # Most packages are unpacked directory by directory; the rest came whenever it came.
    entries.sort(key=lambda entry: entry.path if entry.seed % 10 < 7 else f"~{entry.seed % 7919}")
    for number, origin in enumerate(chance.sample(files, count // LINKS_IN)):
        near = chance.choice(places)
        path = f"{near.path}/link-{number:x}"
        entries.append(entries[0]._replace(path=path, target="", origin=origin.path))
    return Plan(places, entries)


def changes(of: Plan, count: int, seed: int = 2) -> tuple[list[Change], Truth]:
    """Choose about `count` changes to a tree in a mix, scattered over it, and the truth of them."""
    chance = random.Random(seed)
    truth = Truth()
    acts: list[Change] = []
    used: set[str] = set()
    linked = {entry.origin for entry in of.entries if entry.origin}
    single = [entry for entry in of.entries if not entry.origin and entry.path not in linked]
    within: dict[str, list[Entry]] = {}
    for entry in of.entries:
        within.setdefault(entry.path.rpartition("/")[0], []).append(entry)
    parents = {directory.path.rpartition("/")[0] for directory in of.directories}
    free = {entry.path for entry in single}
    leaves = [
        directory
        for directory in of.directories
        if directory.path not in parents
        and all(entry.path in free for entry in within.get(directory.path, ()))
    ]
    chance.shuffle(leaves)
    for number in range(max(1, count // DIRECTORY_ACT_IN)):
        for act in DIRECTORY_ACTS:
            directory = leaves.pop()
            inside = within.get(directory.path, [])
            used.update(entry.path for entry in inside)
            used.add(directory.path)
            _act_on_directory(acts, truth, act, directory, inside, number)
    chance.shuffle(single)
    left = iter([entry for entry in single if entry.path not in used])
    places = [directory.path for directory in of.directories if directory.path not in used]
    number = 0
    for act, share in MIX.items():
        for _ in range(count * share // 100):
            number += 1
            entry = _suited(act, left)
            new = f"{chance.choice(places)}/new-{number:x}.state"
            _act_on_file(acts, truth, act, entry, new, number)
    return acts, truth


def everything(of: Plan) -> Truth:
    """The truth where all of a tree is new."""
    truth = Truth()
    for path in [each.path for each in of.directories] + [each.path for each in of.entries]:
        truth.add("A", path)
    return truth


def _add_parents(directories: dict[str, Directory], place: str, uid: int, gid: int) -> None:
    path = ""
    for part in place.split("/"):
        path = f"{path}/{part}" if path else part
        directories.setdefault(path, Directory(path, 0, 0, 0o755))
    directories[path] = Directory(path, uid, gid, 0o755)


def _entry(chance: random.Random, places: list[Directory], number: int) -> Entry:
    directory = places[int(chance.random() * len(places))]
    word = WORDS[number % len(WORDS)]
    path = f"{directory.path}/{word}_{number:x}{ENDINGS[number % len(ENDINGS)]}"
    mode = (0o644, 0o644, 0o644, 0o600, 0o755)[number % 5]
    entry = Entry(path, directory.uid, directory.gid, mode, 0, number)
    if number % SYMLINKS_IN == 0:
        return entry._replace(target=f"/nix/store/{number:032x}-{word}/share/{word}")
    return entry._replace(size=_size(chance), xattr=number % XATTRS_IN == 1)


def _size(chance: random.Random) -> int:
    drawn = chance.random() * 100
    for share, least, most in SIZES:
        drawn -= share
        if drawn < 0:
            return int(least * (most / least) ** chance.random()) if least else 0
    return 0


def _suited(act: Act, left: Iterator[Entry]) -> Entry:
    while True:
        entry = next(left)
        if act is Act.RETARGET:
            if entry.target:
                return entry
        elif not entry.target and (entry.size or act not in (Act.OVERWRITE, Act.HIDE, Act.REWRITE)):
            return entry


def _act_on_file(
    acts: list[Change], truth: Truth, act: Act, entry: Entry, new: str, number: int
) -> None:
    path = new if act is Act.CREATE else entry.path
    acts.append(Change(act, path, entry.size, entry.seed if act is Act.REWRITE else -number, new))
    if act in (Act.TOUCH, Act.REWRITE):
        truth.times.add(f"/{path}")
        truth.rewritten += act is Act.REWRITE
    elif act is Act.RENAME:
        truth.add("R", new, path)
    else:
        truth.add(STATUS[act], new if act is Act.LINK else path)
    if act in (Act.REPLACE, Act.RETARGET, Act.TYPE):
        truth.times.add("/" + path.rpartition("/")[0])


def _act_on_directory(
    acts: list[Change],
    truth: Truth,
    act: Act,
    directory: Directory,
    inside: list[Entry],
    number: int,
) -> None:
    path = directory.path
    if act is Act.CREATE_DIRECTORY:
        new = f"{path}/fresh-{number:x}"
        acts.append(Change(act, new, 0, number))
        truth.add("A", new)
        for index in range(FILES_PER_DIRECTORY):
            file = f"{new}/file-{index}"
            acts.append(
                Change(Act.CREATE, file, 100 * index, -(10**8 + number * 100 + index), file)
            )
            truth.add("A", file)
    elif act is Act.RENAME_DIRECTORY:
        new = f"{path}-renamed"
        acts.append(Change(act, path, 0, number, new))
        truth.add("R", new, path)
        for entry in inside:
            name = entry.path.rpartition("/")[2]
            truth.add("R", f"{new}/{name}", entry.path)
    elif act is Act.DELETE_DIRECTORY:
        acts.append(Change(act, path, 0, number))
        truth.add("D", path)
        for entry in inside:
            truth.add("D", entry.path)
    else:
        acts.append(Change(act, path, 0, number))
        truth.add("P", path)
