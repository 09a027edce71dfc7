"""Corners of Btrfs that random histories seldom meet, where an argument of an engine might break."""

from __future__ import annotations

import os
import random
import subprocess
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import btrfsutil
import oracle
import pytest
import syscalls
from scene import COLLIDING_NAMES
from test_exactness import Pair, preallocate, write

from drift.btrfs.ioctl import Search
from drift.model import Skipped

if TYPE_CHECKING:
    from btrfs_lab import Lab

pytestmark = pytest.mark.btrfs

engines: Any = pytest.importorskip("engines")


@pytest.fixture
def pair(lab: Lab) -> Pair:
    return Pair(lab)


def test_an_unnamed_file_from_before_the_parting_gets_a_name(pair: Pair) -> None:
    """It is old, in both trees, and has been in no directory."""
    live = pair.lab.create("live")
    os.mkdir(live + b"/d")
    fd = os.open(live + b"/d", os.O_TMPFILE | os.O_RDWR, 0o644)
    os.write(fd, b"x" * 5000)
    pair.lab.snapshot("live", "blank")
    syscalls.link_descriptor(fd, live + b"/d/linked")
    os.close(fd)
    assert pair.said() == [("A", b"/d/linked")]
    assert pair.said("blank", "live") == [("D", b"/d/linked")]


def test_deleted_files_that_are_still_open_on_both_sides(pair: Pair) -> None:
    blank = pair.blank()
    write(blank + b"/f", b"1" * 9000)
    write(blank + b"/g", b"2")
    held = [os.open(blank + b"/f", os.O_RDWR)]
    os.unlink(blank + b"/f")
    live = pair.live()
    held.append(os.open(live + b"/g", os.O_RDWR))
    os.unlink(live + b"/g")
    for fd in held:
        os.pwrite(fd, b"7" * 7000, 0)
    assert pair.said() == [("D", b"/g")]
    write(live + b"/g", b"2")
    assert pair.said() == []
    for fd in held:
        os.close(fd)


def test_names_that_share_an_extended_ref(pair: Pair) -> None:
    first, second, third, fourth = COLLIDING_NAMES
    blank = pair.blank()
    write(blank + b"/f", b"1")
    for number in range(80):
        os.link(blank + b"/f", blank + b"/" + (b"%03d" % number).ljust(250, b"n"))
    for name in (first, second, third):
        os.link(blank + b"/f", blank + b"/" + name)
    live = pair.live()
    os.unlink(live + b"/" + second)
    assert pair.said() == [("D", b"/" + second)]
    write(live + b"/" + second, b"1")
    os.rename(live + b"/" + third, live + b"/" + fourth)
    assert pair.said() == [("R", b"/" + fourth)]


def test_a_directory_of_many_leaves_with_names_of_one_length(pair: Pair) -> None:
    """Its size stays the same, and most of its leaves are as they were."""
    blank = pair.blank()
    os.mkdir(blank + b"/d")
    for number in range(4000):
        write(blank + b"/d/%05d" % number, b"")
    live = pair.live()
    pair.lab.sync()
    os.unlink(live + b"/d/02000")
    write(live + b"/d/x2000", b"")
    os.rename(live + b"/d/00001", live + b"/d/y0001")
    assert pair.said() == [("D", b"/d/02000"), ("A", b"/d/x2000"), ("R", b"/d/y0001")]


def test_a_file_of_many_leaves(pair: Pair) -> None:
    """What was written lies far from the inode, or near it alone."""
    blank = pair.blank()
    fd = os.open(blank + b"/f", os.O_RDWR | os.O_CREAT, 0o644)
    os.pwrite(fd, os.urandom(65536), 0)
    os.fsync(fd)
    for number in range(1, 4000):
        syscalls.clone_range(fd, number * 8192, fd, (number % 16) * 4096, 4096)
    os.close(fd)
    os.setxattr(blank + b"/f", b"user.a", b"1")
    os.setxattr(blank + b"/f", b"user.b", b"1")
    live = pair.live()
    pair.lab.sync()
    os.removexattr(live + b"/f", b"user.a")
    assert pair.said() == [("P", b"/f")]
    os.setxattr(live + b"/f", b"user.a", b"1")
    preallocate(live + b"/f", 4000 * 8192, 1 << 20)
    os.truncate(live + b"/f", os.stat(blank + b"/f").st_size)
    assert pair.said() == []
    write(live + b"/f", b"!", at=2000 * 8192 + 5)
    assert pair.said() == [("M", b"/f")]


def test_the_top_level_as_the_live_root(pair: Pair) -> None:
    lab = pair.lab
    write(lab.top + b"/f", b"1")
    os.mkdir(lab.top + b"/d")
    write(lab.top + b"/d/g", b"2")
    lab.snapshot(b"", "d/blank", readonly=True)
    btrfsutil.set_default_subvolume(lab.path("d/blank"))
    write(lab.top + b"/d/g", b"3")
    os.rename(lab.top + b"/f", lab.top + b"/d/f")
    assert pair.said(b"", "d/blank") == [
        *(("A", path) for path in (b"/d/blank", b"/d/blank/d", b"/d/blank/d/g", b"/d/blank/f")),
        ("R", b"/d/f"),
        ("M", b"/d/g"),
    ]


def test_directory_numbers_given_out_again_on_both_sides(pair: Pair) -> None:
    blank = pair.blank()
    os.makedirs(blank + b"/a")
    write(blank + b"/a/x", b"1")
    os.mkdir(blank + b"/z")
    write(blank + b"/z/last", b"9")
    live = pair.live()
    number = os.stat(live + b"/z").st_ino
    for side in (live, blank):
        os.unlink(side + b"/z/last")
        os.rmdir(side + b"/z")
    pair.lab.remount()
    os.mkdir(live + b"/z")
    os.mkdir(blank + b"/y")
    os.mkdir(blank + b"/y/below")
    assert os.stat(live + b"/z").st_ino == os.stat(blank + b"/y").st_ino == number
    os.link(live + b"/a/x", live + b"/z/last")
    os.rename(live + b"/a", live + b"/z/a")
    assert pair.said() == [
        ("D", b"/y"),
        ("D", b"/y/below"),
        ("A", b"/z"),
        ("R", b"/z/a"),
        ("R", b"/z/a/x"),
        ("A", b"/z/last"),
    ]


@pytest.mark.parametrize("same_name", [True, False])
def test_a_directory_whose_number_a_file_with_many_names_got(pair: Pair, same_name: bool) -> None:
    blank = pair.blank()
    write(blank + b"/c", b"1")
    os.mkdir(blank + b"/d")
    os.rename(blank + b"/c", blank + b"/d/c")
    live = pair.live()
    number = os.stat(live + b"/d").st_ino
    os.rename(live + b"/d/c", live + b"/c")
    os.chmod(live + b"/c", 0o600)
    os.rmdir(live + b"/d")
    pair.lab.remount()
    name = b"/d" if same_name else b"/x"
    write(live + name, b"2")
    assert os.stat(live + name).st_ino == number
    names = [] if same_name else [b"/x%02d" % number for number in range(20)]
    for other in names:
        os.link(live + name, live + other)
    assert pair.said() == [
        ("R", b"/c"),
        ("T" if same_name else "D", b"/d"),
        *(("A", path) for path in ([] if same_name else [name, *names])),
    ]


@pytest.mark.parametrize("turn", range(3))
def test_snapshots_of_a_root_that_is_written_to(pair: Pair, turn: int) -> None:
    """Whatever was written in the very transaction of the parting is in both, or it is seen."""
    live = pair.lab.create("live")
    for number in range(60):
        os.makedirs(live + b"/d%d" % (number % 7), exist_ok=True)
        write(live + b"/d%d/f%d" % (number % 7, number), b"%d" % number * number * 30)
    stop = threading.Event()
    writers = [threading.Thread(target=busy, args=(live, 2 * turn + i, stop)) for i in range(2)]
    for writer in writers:
        writer.start()
    time.sleep(0.05)
    pair.lab.snapshot("live", "blank")
    pair.lab.snapshot("live", "later")
    pair.lab.snapshot("blank", "third")
    time.sleep(0.05)
    stop.set()
    for writer in writers:
        writer.join()
    assert pair.said()
    for sides in (("live", "later"), ("later", "blank"), ("third", "later"), ("blank", "live")):
        pair.said(*sides)
    assert pair.said("third", "blank") == []


def busy(top: bytes, seed: int, stop: threading.Event) -> None:
    """Write to a tree in every way until told to stop."""
    rng = random.Random(seed)
    for number in range(10**9):
        if stop.is_set():
            return
        directory = top + b"/d%d" % rng.randrange(7)
        file, new = directory + b"/f%d" % rng.randrange(60), b"/n%d-%d" % (seed, number)
        with suppress(OSError):
            match rng.randrange(7):
                case 0:
                    write(directory + new, b"x" * rng.randrange(5000))
                case 1:
                    os.unlink(file)
                case 2:
                    os.rename(file, top + b"/d%d" % rng.randrange(7) + new)
                case 3:
                    os.chmod(file, rng.randrange(0o1000))
                case 4:
                    os.link(file, directory + new)
                case 5:
                    os.mkdir(directory + new)
                case _:
                    write(file, b"%d" % number * rng.randrange(2000))


@pytest.mark.parametrize("writable", [True, False], ids=["blank written to", "live written to"])
def test_what_the_log_brings_back_after_a_power_cut(pair: Pair, writable: bool) -> None:
    """What fsync() wrote into the log tree gets into the tree at the next mount, by other ways."""
    blank = pair.blank()
    for number in range(40):
        os.makedirs(blank + b"/d%d" % (number % 5), exist_ok=True)
        write(blank + b"/d%d/f%d" % (number % 5, number), b"%d" % number * 200)
    live = pair.live()
    pair.lab.sync()
    top = blank if writable else live
    for number in range(30):
        at = b"/d%d/f%d" % (number % 5, number)
        new = b"/d%d/new%d" % ((number + 1) % 5, number)
        change_and_sync(top, at, new, number % 6)
    cut_the_power(pair.lab)
    assert len(pair.said()) >= 30
    assert len(pair.said("blank", "live")) >= 30


def change_and_sync(top: bytes, at: bytes, new: bytes, kind: int) -> None:
    """Change a file in one of six ways, and have it in the log."""
    path = at
    match kind:
        case 0:
            os.rename(top + at, top + new)
            path = new
        case 1:
            os.link(top + at, top + new)
        case 2:
            os.unlink(top + at)
            write(top + at, b"new")
        case 3:
            write(top + at, b"other")
        case 4:
            os.setxattr(top + at, b"user.k", b"1")
        case _:
            write(top + new, b"1")
            path = new
    fd = os.open(top + path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def cut_the_power(lab: Lab) -> None:
    """Go on with the filesystem as it is on the disk now, whatever is still in memory."""
    image = os.fsdecode(lab.directory) + "/image"
    subprocess.run(["cp", "--sparse=always", image, image + ".cut"], check=True)
    subprocess.run(["umount", lab.top], check=True)
    copy = ["dd", f"if={image}.cut", f"of={image}", "bs=1M", "conv=notrunc", "status=none"]
    subprocess.run(copy, check=True)
    os.unlink(image + ".cut")
    subprocess.run(["blockdev", "--flushbufs", lab.device], check=True)
    subprocess.run(["mount", "-o", "subvolid=5", lab.device, lab.top], check=True)


@pytest.mark.parametrize("engine", ["auto", "metadata"])
def test_a_nested_subvolume_that_is_deleted_while_it_is_read(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    lab = pair.lab
    os.mkdir(pair.blank() + b"/v")
    live = pair.live()
    for number in range(5):
        write(live + b"/new%d" % number, b"2")
    for name in (b"/v/one", b"/v/two"):
        lab.create(b"live" + name)
        write(live + name + b"/file", b"1")
    rows = [
        (row.status, row.path)
        for row in oracle.expected(live, lab.path("blank"))
        if not row.path.startswith(b"/v/one")
    ]
    doomed = btrfsutil.subvolume_id(live + b"/v/one")
    fetch = Search.fetch

    def fetch_late(search: Search, tree: int, *args: Any, **how: Any) -> int:
        if tree == doomed and os.path.exists(live + b"/v/one"):
            lab.delete("live/v/one")
        return fetch(search, tree, *args, **how)

    monkeypatch.setattr(Search, "fetch", fetch_late)
    changes, skipped = engines.diff_and_skipped(live, lab.path("blank"), engine)
    assert [(change.status, change.path) for change in changes] == rows
    assert skipped == [Skipped(b"/v/one", "it vanished while drift was reading")]
