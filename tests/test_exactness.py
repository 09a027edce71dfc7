"""What random histories found, or what could break the argument of an engine: each by name.

Every test makes one pair of trees on real Btrfs and asks that all engines say what the oracle
says, and that this is what is meant.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

import oracle
import pytest
import syscalls

if TYPE_CHECKING:
    from btrfs_lab import Lab

pytestmark = pytest.mark.btrfs

engines: Any = pytest.importorskip("engines")

Rows = list[tuple[str, bytes]]


class Pair:
    """Two subvolumes, `live` and `blank`, that a test makes and then compares."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def blank(self) -> bytes:
        return self.lab.create("blank")

    def live(self) -> bytes:
        return self.lab.snapshot("blank", "live")

    def said(self, live: str = "live", blank: str = "blank") -> Rows:
        """What all engines and the oracle agree on, as status and path."""
        sides = self.lab.path(live), self.lab.path(blank)
        found = {engine: engines.diff(*sides, engine) for engine in ("auto", "metadata", "walk")}
        rows = oracle.expected(*sides)
        wrong = {engine: oracle.disagreements(rows, found[engine]) for engine in found}
        assert wrong == {"auto": [], "metadata": [], "walk": []}
        return [(row.status, row.path) for row in rows]


@pytest.fixture
def pair(lab: Lab) -> Pair:
    return Pair(lab)


def write(path: bytes, content: bytes, at: int = 0) -> None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    os.pwrite(fd, content, at)
    os.close(fd)


def preallocate(path: bytes, offset: int, length: int) -> None:
    fd = os.open(path, os.O_RDWR)
    syscalls.fallocate(fd, 0, offset, length)
    os.close(fd)


def test_what_is_written_behind_inline_data_is_seen(pair: Pair) -> None:
    """A file can keep its inline extent and have others: equal inline bytes prove nothing then."""
    file = pair.blank() + b"/file"
    write(file, b"x" * 100)
    pair.lab.sync()
    preallocate(file, 100, 300_000)
    live = pair.live()
    write(live + b"/file", b"changed", at=8192)
    assert pair.said() == [("M", b"/file")]


def test_inline_data_shorter_than_the_file_ends_in_zeros(pair: Pair) -> None:
    """fallocate() by a byte leaves 100 bytes inline in a file of 101; a copy has all 101."""
    file = pair.blank() + b"/file"
    write(file, b"x" * 100)
    pair.lab.sync()
    preallocate(file, 100, 1)
    live = pair.live()
    os.unlink(live + b"/file")
    write(live + b"/file", b"x" * 100 + b"\0")
    assert pair.said() == []


def test_a_stub_beside_a_directory_is_compared_as_the_kernel_shows_it(pair: Pair) -> None:
    pair.blank()
    pair.lab.create("blank/machines")
    live = pair.live()
    os.rmdir(live + b"/machines")
    os.mkdir(live + b"/machines", 0o755)
    pair.lab.snapshot("blank", "stubbed")
    assert pair.said(blank="stubbed") == []
    os.setxattr(live + b"/machines", "user.note", b"1")
    assert pair.said(blank="stubbed") == [("P", b"/machines")]


def test_a_stub_has_the_owner_that_its_directory_has_now(pair: Pair) -> None:
    """The kernel shows the owner of when the stub was first looked at, until it is unmounted."""
    os.mkdir(pair.blank() + b"/lib")
    pair.lab.create("blank/lib/machines")
    live = pair.live()
    pair.lab.snapshot("blank", "stubbed")
    assert os.lstat(live + b"/lib/machines").st_uid == 0
    os.chown(live + b"/lib", 7, 8)
    assert pair.said(blank="stubbed") == [("P", b"/lib"), ("P", b"/lib/machines")]


def test_files_made_in_one_moment_in_both_are_not_one_file(pair: Pair) -> None:
    """Often of equal inode number, generation and time of birth, but born after the two parted."""
    blank = pair.blank()
    live = pair.live()
    for number in range(20):
        write(live + b"/live-%02d" % number, b"1")
        write(blank + b"/blank-%02d" % number, b"1")
    assert {status for status, _ in pair.said()} == {"A", "D"}


def test_one_name_deleted_from_the_blank_is_seen_from_live(pair: Pair) -> None:
    blank = pair.blank()
    for number in range(2000):
        write(blank + b"/file-%d" % number, b"")
    pair.live()
    pair.lab.sync()
    os.unlink(blank + b"/file-1000")
    assert pair.said() == [("A", b"/file-1000")]
    assert pair.said(live="blank", blank="live") == [("D", b"/file-1000")]


def test_inode_number_given_out_again_at_the_same_path(pair: Pair) -> None:
    blank = pair.blank()
    write(blank + b"/file", b"one")
    live = pair.live()
    number = os.stat(live + b"/file").st_ino
    os.unlink(live + b"/file")
    pair.lab.remount()
    write(live + b"/file", b"two")
    assert os.stat(live + b"/file").st_ino == number
    assert pair.said() == [("M", b"/file")]


def test_directory_number_given_out_again_with_other_entries(pair: Pair) -> None:
    blank = pair.blank()
    os.mkdir(blank + b"/old")
    live = pair.live()
    number = os.stat(live + b"/old").st_ino
    os.rmdir(live + b"/old")
    pair.lab.remount()
    os.mkdir(live + b"/new")
    assert os.stat(live + b"/new").st_ino == number
    assert pair.said() == [("A", b"/new"), ("D", b"/old")]


def test_type_of_a_number_given_out_again(pair: Pair) -> None:
    blank = pair.blank()
    write(blank + b"/entry", b"")
    live = pair.live()
    os.unlink(live + b"/entry")
    pair.lab.remount()
    os.mknod(live + b"/entry", stat.S_IFCHR | 0o644, os.makedev(1, 3))
    assert pair.said() == [("T", b"/entry")]


def test_change_in_a_leaf_far_from_all_others(pair: Pair) -> None:
    """Everything else lies in leaves that the kernel skips."""
    blank = pair.blank()
    for number in range(3000):
        write(blank + b"/file-%04d" % number, b"%d" % number)
    live = pair.live()
    pair.lab.sync()
    write(live + b"/file-1500", b"other")
    os.rename(live + b"/file-2000", live + b"/moved")
    os.chmod(live + b"/file-2500", 0o600)
    assert pair.said() == [
        ("M", b"/file-1500"),
        ("P", b"/file-2500"),
        ("R", b"/moved"),
    ]


def test_names_that_share_a_directory_item(pair: Pair) -> None:
    """The names have one crc32c."""
    blank = pair.blank()
    write(blank + b"/bwyd0ke", b"one")
    write(blank + b"/6ld1x2u", b"two")
    live = pair.live()
    os.unlink(live + b"/bwyd0ke")
    write(live + b"/6ld1x2u", b"TWO")
    os.setxattr(live, b"user.bwyd0ke", b"1")
    os.setxattr(live, b"user.6ld1x2u", b"2")
    assert pair.said() == [("P", b"/"), ("M", b"/6ld1x2u"), ("D", b"/bwyd0ke")]


def test_same_extents_in_another_order(pair: Pair) -> None:
    blank = pair.blank()
    write(blank + b"/file", b"a" * 65536 + b"b" * 65536)
    pair.lab.sync()
    live = pair.live()
    source, target = os.open(blank + b"/file", os.O_RDONLY), os.open(live + b"/file", os.O_RDWR)
    syscalls.clone_range(target, 0, source, 65536, 65536)
    syscalls.clone_range(target, 65536, source, 0, 65536)
    os.close(source)
    os.close(target)
    assert pair.said() == [("M", b"/file")]


def test_balance_and_defragmenting_change_nothing(pair: Pair) -> None:
    blank = pair.blank()
    for number in range(50):
        write(blank + b"/file-%d" % number, b"%d" % number * 20_000)
    live = pair.live()
    pair.lab.btrfs("balance", "start", "--full-balance", pair.lab.top)
    for number in range(50):
        fd = os.open(live + b"/file-%d" % number, os.O_RDWR)
        syscalls.defragment(fd, "zstd")
        os.close(fd)
    assert pair.said() == []


def test_many_hard_links_beyond_the_refs_of_one_item(pair: Pair) -> None:
    blank = pair.blank()
    write(blank + b"/file", b"x")
    for number in range(100):
        os.link(blank + b"/file", blank + b"/" + (b"%03d" % number).ljust(250, b"n"))
    live = pair.live()
    os.unlink(live + b"/" + b"050".ljust(250, b"n"))
    os.rename(live + b"/" + b"070".ljust(250, b"n"), live + b"/short")
    assert [(status, path[:4]) for status, path in pair.said()] == [("D", b"/070"), ("R", b"/sho")]


def test_a_blank_taken_inside_of_live_is_in_live_only(pair: Pair) -> None:
    """It marks its directory with the generation at which the two parted, and no later one."""
    os.mkdir(pair.lab.create("live") + b"/snapshots")
    pair.lab.sync()
    pair.lab.snapshot("live", "live/snapshots/blank", readonly=True)
    assert pair.said(blank="live/snapshots/blank") == [
        ("A", b"/snapshots/blank"),
        ("A", b"/snapshots/blank/snapshots"),
    ]


def test_a_directory_in_common_below_one_that_was_made_again_is_told_in_order(pair: Pair) -> None:
    """What it holds comes between the entries of the one above."""
    blank = pair.blank()
    os.makedirs(blank + b"/var/lib")
    for name in (b"/var/a", b"/var/lib/file", b"/var/z"):
        write(blank + name, b"1")
    live = pair.live()
    os.rename(live + b"/var", live + b"/old")
    os.mkdir(live + b"/var")
    for name in (b"a", b"lib", b"z"):
        os.rename(live + b"/old/" + name, live + b"/var/" + name)
    os.rmdir(live + b"/old")
    for name in (b"/var/a", b"/var/lib/file", b"/var/z"):
        write(live + name, b"2")
    rows = [("M", b"/var/a"), ("M", b"/var/lib/file"), ("M", b"/var/z")]
    assert pair.said() == rows
    assert pair.said("blank", "live") == rows
