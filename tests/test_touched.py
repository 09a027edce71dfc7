"""What was touched is compared with few searches, and these find all there is."""

from __future__ import annotations

import os
import random
import shutil
from typing import TYPE_CHECKING, Any

import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drift.btrfs import parallel
from drift.btrfs.columns import Columns, Rewritten, links_passed, read_columns
from drift.btrfs.ioctl import ANY, ANY_TYPE, Search
from drift.btrfs.items import DIR_INDEX, DIR_ITEM, DIR_ITEM_HEAD, INODE_ITEM
from drift.btrfs.subvolumes import subvolume_id, sync
from drift.btrfs.trees import FEW, read_inodes, read_items, read_links
from drift.diff import touched
from drift.diff.touched import MOST_GAPS, Sift
from drift.locate import locate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from btrfs_lab import Lab

engines: Any = pytest.importorskip("engines")

DIRECTORY = 300
INDEXES = st.integers(2, 60)


def entry(index: int) -> bytes:
    name = b"n" * (index % 7 + 1)
    return DIR_ITEM_HEAD.pack(index, INODE_ITEM, 0, 9, 0, len(name), 1) + name


class Answers:
    """Searches in a tree that has one directory, with these entries."""

    def __init__(self, indexes: set[int]) -> None:
        self.indexes = sorted(indexes)
        self.count = 0

    def __call__(
        self, search: object, tree: int, first: Any, last: Any, *, most: int = ANY
    ) -> list[tuple[int, int, bytes]]:
        self.count += 1
        found = [
            (DIR_INDEX, index, entry(index))
            for index in self.indexes
            if first[2] <= index <= last[2]
        ]
        return found[:most]


@given(st.sets(INDEXES), st.sets(INDEXES), st.booleans())
def test_what_a_directory_lost_is_found_or_said_to_be_unknown(before, gone, damaged):
    older = before - gone
    mine = Rewritten(b"")
    mine.older = sorted(older)
    mine.older_names = sum(len(entry(index)) - DIR_ITEM_HEAD.size for index in older)
    size = 2 * sum(len(entry(index)) - DIR_ITEM_HEAD.size for index in before) + 2 * damaged
    answers = Answers(before)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(touched, "read_range", answers)
        found = Sift(256, 257, 9)._gone(object(), DIRECTORY, mine, size)
    gaps = sum(
        1 for low, high in zip([1, *mine.older], [*mine.older, ANY], strict=True) if high > low + 1
    )
    if damaged:
        assert found is None
    elif gaps <= MOST_GAPS or older == before:
        assert sorted(found) == sorted(entry(index) for index in before & gone)
    else:
        assert found is None
    assert answers.count <= 2 * MOST_GAPS


def keep(_: bytes) -> None:
    pass


def add(directory: bytes) -> None:
    for number in range(3):
        os.close(os.open(directory + b"/new-%d" % number, os.O_CREAT | os.O_WRONLY))


def remove(directory: bytes) -> None:
    for number in (3, 4, 20):
        os.unlink(directory + b"/file-%d" % number)


def remove_last(directory: bytes) -> None:
    os.unlink(directory + b"/file-39")


def remove_all(directory: bytes) -> None:
    for name in os.listdir(directory):
        os.unlink(directory + b"/" + name)


def remove_many(directory: bytes) -> None:
    for number in range(1, 40, 2):
        os.unlink(directory + b"/file-%d" % number)


def replace(directory: bytes) -> None:
    for number in (5, 6, 30):
        os.close(os.open(directory + b"/.new", os.O_CREAT | os.O_WRONLY))
        os.rename(directory + b"/.new", directory + b"/file-%d" % number)


def rename(directory: bytes) -> None:
    os.rename(directory + b"/file-7", directory + b"/renamed")
    os.rename(directory + b"/file-8", directory + b"/file-9")


def there_and_back(directory: bytes) -> None:
    os.rename(directory + b"/file-7", directory + b"/away")
    os.rename(directory + b"/away", directory + b"/file-7")


def swap(directory: bytes) -> None:
    os.rename(directory + b"/file-7", directory + b"/away")
    os.rename(directory + b"/file-8", directory + b"/file-7")
    os.rename(directory + b"/away", directory + b"/file-8")


def remove_and_link(directory: bytes) -> None:
    os.link(directory + b"/file-7", directory + b"/link")
    os.unlink(directory + b"/file-7")


def change_mode(directory: bytes) -> None:
    os.chmod(directory, 0o700)
    add(directory)


def set_xattrs(directory: bytes) -> None:
    for number in range(5):
        os.setxattr(directory, b"user.%d" % number, b"x")


def remove_xattrs(directory: bytes) -> None:
    for name in os.listxattr(directory):
        os.removexattr(directory, name)


def list_only(directory: bytes) -> None:
    os.utime(directory, ns=(0, os.stat(directory).st_mtime_ns))
    os.listdir(directory)


def filled(lab: Lab, count: int) -> bytes:
    """A directory of the blank with so many files."""
    directory = lab.create("blank") + b"/directory"
    os.mkdir(directory)
    for number in range(count):
        os.close(os.open(directory + b"/file-%d" % number, os.O_CREAT | os.O_WRONLY))
    return directory


# What is done to a directory, and whether few searches tell what came of it.
DONE: list[tuple[Callable[[bytes], None], bool]] = [
    (add, True),
    (remove, True),
    (remove_last, True),
    (remove_all, True),
    (remove_many, False),
    (replace, True),
    (rename, True),
    (there_and_back, True),
    (swap, True),
    (remove_and_link, True),
    (change_mode, True),
    (set_xattrs, True),
    (remove_xattrs, False),
    (list_only, True),
]
# What was done to it before, where that can be.
CASES = [
    pytest.param(earlier, change, few, id=f"{earlier.__name__}-{change.__name__}")
    for earlier in (keep, remove, set_xattrs)
    for change, few in DONE
    if not (earlier is remove and change in (remove, remove_many))
    and not (earlier is not set_xattrs and change is remove_xattrs)
]


@pytest.mark.btrfs
@pytest.mark.parametrize(("earlier", "change", "few"), CASES)
def test_a_touched_directory_is_compared_by_what_came_and_went(
    lab: Lab,
    monkeypatch: pytest.MonkeyPatch,
    earlier: Callable[[bytes], None],
    change: Callable[[bytes], None],
    few: bool,
) -> None:
    directory = filled(lab, 40)
    earlier(directory)
    # What is made in the transaction of the snapshot can't be told from what is made after it.
    lab.sync()
    change(lab.snapshot("blank", "live") + b"/directory")
    settle, settled = Sift._settle_directory, []

    def recorded(self: Sift, search: Search, inode: int, *rest: Any) -> bool:
        done = settle(self, search, inode, *rest)
        if inode == os.stat(directory).st_ino:
            settled.append(done)
        return done

    monkeypatch.setattr(Sift, "_settle_directory", recorded)
    sides = lab.path("live"), lab.path("blank")
    assert oracle.disagreements(oracle.expected(*sides), engines.diff(*sides)) == []
    assert settled == [few]


@pytest.mark.btrfs
@pytest.mark.parametrize("change", [change_mode, add, remove, list_only])
def test_of_a_large_directory_not_all_is_returned(
    lab: Lab, change: Callable[[bytes], None]
) -> None:
    filled(lab, 3000)
    lab.sync()
    change(lab.snapshot("blank", "live") + b"/directory")
    sides = lab.path("live"), lab.path("blank")
    assert oracle.disagreements(oracle.expected(*sides), engines.diff(*sides)) == []


@pytest.mark.btrfs
@pytest.mark.parametrize("change", [keep, add, remove, replace, rename, list_only])
def test_a_directory_that_both_trees_wrote_to_is_read_whole(
    lab: Lab, change: Callable[[bytes], None]
) -> None:
    directory = filled(lab, 40)
    lab.sync()
    change(lab.snapshot("blank", "live") + b"/directory")
    lab.sync()
    # Another name of the same length, so that no size tells.
    os.unlink(directory + b"/file-10")
    os.close(os.open(directory + b"/fine-10", os.O_CREAT | os.O_WRONLY))
    sides = lab.path("live"), lab.path("blank")
    rows = oracle.expected(*sides)
    assert {("A", b"/directory/file-10"), ("D", b"/directory/fine-10")} <= {
        (row.status, row.path) for row in rows
    }
    assert oracle.disagreements(rows, engines.diff(*sides)) == []


@pytest.mark.btrfs
def test_ways_up_that_nobody_climbed_are_found_all_the_same(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    blank = lab.create("blank")
    for number in range(9):
        directory = blank + b"/a/b-%d/c/d" % number
        os.makedirs(directory)
        os.close(os.open(directory + b"/file", os.O_CREAT | os.O_WRONLY))
    lab.sync()
    live = lab.snapshot("blank", "live")
    for number in range(0, 9, 2):
        with open(live + b"/a/b-%d/c/d/file" % number, "wb") as file:
            file.write(b"x")
        if number < 8:
            os.unlink(live + b"/a/b-%d/c/d/file" % (number + 1))
    os.rename(live + b"/a/b-8", live + b"/moved")
    sides = lab.path("live"), lab.path("blank")
    # All directories share one claim.
    monkeypatch.setattr(touched, "CLAIMS", 1)
    rows = oracle.expected(*sides)
    assert len(rows) > 9
    assert oracle.disagreements(rows, engines.diff(*sides)) == []


@pytest.mark.btrfs
def test_what_several_processes_compare_is_one_answer(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    blank = lab.create("blank")
    chance = random.Random(1)
    directories = [b"/top"]
    for number in range(90):
        directories.append(chance.choice(directories) + b"/d-%d" % number)
    for directory in directories:
        os.mkdir(blank + directory)
    for directory in directories:
        for number in range(60):
            with open(blank + directory + b"/file-%d" % number, "wb") as file:
                file.write(b"x" * 900)
    lab.sync()
    live = lab.snapshot("blank", "live")
    for directory in directories:
        with open(live + directory + b"/file-%d" % chance.randrange(20), "ab") as file:
            file.write(b"x")
        os.unlink(live + directory + b"/file-%d" % chance.randrange(20, 40))
        name = live + directory + b"/file-%d" % chance.randrange(40, 60)
        os.rename(name, live + chance.choice(directories) + b"/renamed-%d" % chance.randrange(99))
    for directory in chance.sample(directories[1:], 9):
        if os.path.exists(live + directory):
            os.rename(live + directory, live + directory + b"-renamed")
    forks = []
    fork = os.fork
    monkeypatch.setattr(parallel.os, "fork", lambda: forks.append(1) or fork())
    monkeypatch.setattr(parallel.os, "sched_getaffinity", lambda _: {0, 1, 2})
    monkeypatch.setattr(parallel, "BUFFERS_ALONE", 1)
    sides = lab.path("live"), lab.path("blank")
    rows = oracle.expected(*sides)
    assert len(rows) > 250
    assert oracle.disagreements(rows, engines.diff(*sides)) == []
    assert len(forks) >= 2


@pytest.mark.btrfs
def test_what_lies_below_a_directory_that_the_blank_lost_is_new(lab: Lab) -> None:
    blank = lab.create("blank")
    os.makedirs(blank + b"/a/b/c")
    for name in (b"/a/b/c/changed", b"/a/b/c/left"):
        os.close(os.open(blank + name, os.O_CREAT | os.O_WRONLY))
    lab.sync()
    live = lab.snapshot("blank", "live")
    with open(live + b"/a/b/c/changed", "wb") as file:
        file.write(b"x")
    shutil.rmtree(blank + b"/a/b")
    sides = lab.path("live"), lab.path("blank")
    changes, skipped = engines.diff_and_skipped(*sides)
    assert oracle.disagreements(oracle.expected(*sides), changes) == []
    assert len(changes) == 4
    assert skipped == []


@pytest.fixture
def opened(lab: Lab) -> Iterator[Callable[[str], tuple[Search, int]]]:
    fds = []

    def open_tree(name: str) -> tuple[Search, int]:
        fds.append(os.open(lab.path(name), os.O_RDONLY))
        sync(fds[-1])
        number = subvolume_id(fds[-1])
        assert number is not None
        return Search(fds[-1]), number

    yield open_tree
    for fd in fds:
        os.close(fd)


@pytest.mark.btrfs
def test_refs_that_reading_passed_are_those_of_the_directories(lab: Lab, opened: Any) -> None:
    blank = lab.create("blank")
    chance = random.Random(1)
    directories = [blank]
    for number in range(400):
        directory = chance.choice(directories) + b"/" + b"d%d" % number * chance.randrange(1, 9)
        os.mkdir(directory)
        directories.append(directory)
        if number % 5 == 0:
            os.setxattr(directory, b"user.x", b"x")
        for file in range(chance.randrange(20)):
            os.close(os.open(directory + b"/f%d" % file, os.O_CREAT | os.O_WRONLY))
    lab.sync()
    live = lab.snapshot("blank", "live")
    for directory in chance.sample(directories, 60):
        os.close(os.open(live + directory[len(blank) :] + b"/new", os.O_CREAT | os.O_WRONLY))
    search, number = opened("live")
    located = locate(live, blank, explicit_live=True)
    since = located.base
    located.close()
    assert since is not None
    columns = Columns()
    read_columns(search, number, since, into=columns, jump=True)
    inodes = [os.stat(live + one[len(blank) :]).st_ino for one in directories[1:]]
    found = links_passed(columns.passed, inodes)
    assert len(found) > 60
    assert (
        found.items()
        <= {inode: tuple(link) for inode, link in read_links(search, number, inodes)}.items()
    )


@pytest.mark.btrfs
def test_an_inode_is_read_whole_however_many_items_it_has(lab: Lab, opened: Any) -> None:
    root = lab.create("root")
    for number in range(24):
        name = root + b"/%d" % number
        with open(name, "wb") as file:
            for part in range(number // 2):
                file.seek(part * 65536)
                file.write(b"x" * 4096)
                os.fsync(file.fileno())
        for value in range(number % 7):
            os.setxattr(name, b"user.%d" % value, b"x")
        for link in range(number % 5 * 40):
            os.link(name, root + b"/%d-%d" % (number, link) + b"n" * 99)
        os.makedirs(name + b".d" + b"/x" * (number % 3))
    search, number = opened("root")
    last = max(entry.inode() for entry in os.scandir(root))
    wanted: dict[int, tuple[list[Any], list[bytes]]] = {}
    everything = read_items(search, number, (256, 0, 0), (last + 9, ANY_TYPE, ANY))
    for inode, kind, offset, payload in everything:
        items, entries = wanted.setdefault(inode, ([], []))
        if kind == DIR_INDEX:
            entries.append(payload)
        elif kind != DIR_ITEM:
            items.append((kind, offset, payload))
    assert {len(items) for items, _ in wanted.values()} >= {FEW - 1, FEW, FEW + 1}
    one_by_one = {
        inode: tuple(parts)
        for each in range(256, last + 9)
        for inode, parts in read_inodes(search, number, [each])
    }
    assert one_by_one == wanted
    together = read_inodes(search, number, range(256, last + 9))
    assert {inode: tuple(parts) for inode, parts in together} == wanted
