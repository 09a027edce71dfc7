"""The oracle on small trees whose differences are plain to see."""

from __future__ import annotations

import os
import shutil
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

import oracle
import pytest

from drift.model import Change, Kind, Status

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from btrfs_lab import Lab

on_btrfs = pytest.mark.btrfs


class Pair:
    """A blank with a few files in it and a live root that is its snapshot."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab = lab
        self.blank = lab.create(f"{name}/blank")
        os.mkdir(self.blank + b"/etc")
        self.write(self.blank + b"/etc/hosts", b"localhost")
        self.write(self.blank + b"/etc/motd", b"welcome")
        os.symlink("hosts", self.blank + b"/etc/link")
        os.mknod(self.blank + b"/null", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
        self.name = name
        self.live = b""

    def snapshot(self) -> bytes:
        self.live = self.lab.snapshot(f"{self.name}/blank", f"{self.name}/live")
        return self.live

    def write(self, path: bytes, content: bytes) -> None:
        with open(path, "wb") as file:
            file.write(content)
        os.utime(path, ns=(0, 1_500_000_000))

    def said(self) -> list[tuple[object, ...]]:
        """The expected rows as status, path and whatever of source and modified is set."""
        rows = oracle.expected(self.live, self.blank)
        assert oracle.expected(self.live, self.live) == []
        backwards = oracle.expected(self.blank, self.live)
        assert oracle.mirrored(rows) == [row[:4] for row in backwards]
        return [
            (row.status, row.path, *filter(None, [row.source, row.modified and "modified"]))
            for row in rows
        ]


@pytest.fixture
def pair(shared_lab: Lab, request: pytest.FixtureRequest) -> Iterator[Pair]:
    name = request.node.name
    yield Pair(shared_lab, name)
    for side in ("live", "blank"):
        with suppress(OSError):
            shared_lab.delete(f"{name}/{side}")


@on_btrfs
def test_untouched_snapshot_has_no_differences(pair: Pair) -> None:
    pair.snapshot()
    assert pair.said() == []


@on_btrfs
def test_each_status_is_told(pair: Pair) -> None:
    live = pair.snapshot()
    pair.write(live + b"/etc/new", b"12345")
    os.chmod(live + b"/etc/new", 0o640)
    os.chown(live + b"/etc/new", 12, 34)
    os.unlink(live + b"/etc/link")
    pair.write(live + b"/etc/hosts", b"LOCALHOST")
    os.rename(live + b"/etc/motd", live + b"/motd")
    os.unlink(live + b"/null")
    os.mkfifo(live + b"/null")
    os.chmod(live + b"/etc", 0o700)
    fifo = os.lstat(live + b"/null")
    etc = os.lstat(live + b"/etc")
    link = os.lstat(pair.blank + b"/etc/link")
    day = 1_500_000_000
    assert oracle.expected(live, pair.blank) == [
        ("P", b"/etc", None, False, "directory", None, 0o700, 0, 0, etc.st_mtime_ns),
        ("M", b"/etc/hosts", None, False, "file", 9, 0o644, 0, 0, day),
        ("D", b"/etc/link", None, False, "symlink", 5, 0o777, 0, 0, link.st_mtime_ns),
        ("A", b"/etc/new", None, False, "file", 5, 0o640, 12, 34, day),
        ("R", b"/motd", b"/etc/motd", False, "file", 7, 0o644, 0, 0, day),
        ("T", b"/null", None, False, "fifo", 0, 0o644, 0, 0, fifo.st_mtime_ns),
    ]


@on_btrfs
def test_the_root_itself_can_differ_in_properties(pair: Pair) -> None:
    live = pair.snapshot()
    os.chown(live, 1, 0)
    assert pair.said() == [("P", b"/")]


@on_btrfs
def test_content_is_bytes_link_target_or_device_number(pair: Pair) -> None:
    live = pair.snapshot()
    pair.write(live + b"/etc/hosts", b"localhosT")
    os.unlink(live + b"/etc/link")
    os.symlink("motds", live + b"/etc/link")
    os.unlink(live + b"/null")
    os.mknod(live + b"/null", 0o600 | stat.S_IFCHR, os.makedev(1, 5))
    assert pair.said() == [("M", b"/etc/hosts"), ("M", b"/etc/link"), ("M", b"/null")]


@on_btrfs
def test_same_bytes_written_again_are_no_difference(pair: Pair) -> None:
    live = pair.snapshot()
    pair.write(live + b"/etc/hosts.new", b"localhost")
    os.rename(live + b"/etc/hosts.new", live + b"/etc/hosts")
    os.utime(live + b"/etc/motd")
    assert pair.said() == []


@on_btrfs
@pytest.mark.parametrize("name", ["user.note", "security.capability", "trusted.overlay.opaque"])
def test_xattrs_are_properties(pair: Pair, name: str) -> None:
    live = pair.snapshot()
    value = b"\x01\x00\x00\x02\x00\x04\x00\x00" + bytes(12)
    os.setxattr(live + b"/etc/hosts", name, value)
    assert pair.said() == [("P", b"/etc/hosts")]


@on_btrfs
def test_a_renamed_directory_takes_all_below_it_along(pair: Pair) -> None:
    live = pair.snapshot()
    os.rename(live + b"/etc", live + b"/usr")
    pair.write(live + b"/usr/motd", b"changed")
    assert pair.said() == [
        ("R", b"/usr", b"/etc"),
        ("R", b"/usr/hosts", b"/etc/hosts"),
        ("R", b"/usr/link", b"/etc/link"),
        ("R", b"/usr/motd", b"/etc/motd", "modified"),
    ]


@on_btrfs
def test_a_file_of_the_same_inode_number_born_later_was_not_renamed(pair: Pair) -> None:
    pair.write(pair.blank + b"/last", b"blank's")
    live = pair.snapshot()
    ino = os.stat(live + b"/last").st_ino
    os.unlink(live + b"/last")
    pair.lab.remount()
    pair.write(live + b"/first", b"live's")
    assert os.stat(live + b"/first").st_ino == ino
    assert pair.said() == [("A", b"/first"), ("D", b"/last")]


@on_btrfs
def test_new_hard_link_is_added_and_old_names_pair_in_order(pair: Pair) -> None:
    for name in (b"/a", b"/b", b"/c"):
        os.link(pair.blank + b"/etc/motd", pair.blank + name)
    live = pair.snapshot()
    os.link(live + b"/etc/hosts", live + b"/more")
    os.rename(live + b"/c", live + b"/y")
    os.rename(live + b"/a", live + b"/z")
    os.unlink(live + b"/b")
    assert pair.said() == [
        ("D", b"/c"),
        ("A", b"/more"),
        ("R", b"/y", b"/a"),
        ("R", b"/z", b"/b"),
    ]


@on_btrfs
def test_exchanged_names_are_compared_by_path(pair: Pair) -> None:
    live = pair.snapshot()
    os.rename(live + b"/etc/hosts", live + b"/etc/tmp")
    os.rename(live + b"/etc/motd", live + b"/etc/hosts")
    os.rename(live + b"/etc/tmp", live + b"/etc/motd")
    assert pair.said() == [("M", b"/etc/hosts"), ("M", b"/etc/motd")]


@on_btrfs
def test_nested_subvolume_is_an_entry_with_content_and_a_stub_in_snapshots(pair: Pair) -> None:
    nested = pair.lab.create(f"{pair.name}/blank/machines")
    pair.write(nested + b"/disk", b"data")
    live = pair.snapshot()
    os.chown(live, 7, 8)
    stub = oracle.Row("T", b"/machines", None, False, "directory", None, 0o755, 7, 8, None)
    rows = oracle.expected(live, pair.blank)
    assert rows[1] == stub
    assert [row[:5] for row in rows] == [
        ("P", b"/", None, False, "directory"),
        ("T", b"/machines", None, False, "directory"),
        ("D", b"/machines/disk", None, False, "file"),
    ]
    assert [row[:5] for row in oracle.expected(pair.blank, live)] == [
        ("P", b"/", None, False, "directory"),
        ("T", b"/machines", None, False, "subvolume"),
        ("A", b"/machines/disk", None, False, "file"),
    ]
    assert stub._replace(status="A") in oracle.expected(live, None)


@on_btrfs
def test_a_stub_has_the_owner_of_its_directory_and_the_mode_0755(pair: Pair) -> None:
    pair.lab.create(f"{pair.name}/blank/etc/machines")
    live = pair.snapshot()
    other = pair.lab.snapshot(f"{pair.name}/blank", f"{pair.name}/other")
    assert os.lstat(live + b"/etc/machines").st_uid == 0
    os.chown(live + b"/etc", 7, 0)
    rows = oracle.expected(live, other)
    assert [row[:2] for row in rows] == [("P", b"/etc"), ("P", b"/etc/machines")]
    pair.lab.remount()
    assert oracle.expected(live, other) == rows
    pair.lab.delete(f"{pair.name}/other")


@on_btrfs
def test_without_a_blank_everything_but_the_root_is_added(pair: Pair) -> None:
    live = pair.snapshot()
    assert [row[:2] for row in oracle.expected(live, None)] == [
        ("A", b"/etc"),
        ("A", b"/etc/hosts"),
        ("A", b"/etc/link"),
        ("A", b"/etc/motd"),
        ("A", b"/null"),
    ]


@on_btrfs
def test_equal_inode_numbers_of_unrelated_subvolumes_mean_nothing(pair: Pair) -> None:
    pair.live = pair.lab.create(f"{pair.name}/live")
    for name in (b"/1", b"/2", b"/3", b"/4", b"/5"):
        pair.write(pair.live + name, name)
    assert {row[0] for row in pair.said()} == {"A", "D"}


def test_plain_directories_are_compared_by_path(tmp_path: Path) -> None:
    blank, live = tmp_path / "blank", tmp_path / "live"
    (blank / "etc").mkdir(parents=True)
    (blank / "etc/hosts").write_text("localhost")
    (blank / "etc/motd").write_text("welcome")
    shutil.copytree(blank, live)
    (live / "etc/hosts").write_text("changed")
    (live / "etc/motd").rename(live / "motd")
    rows = oracle.expected(os.fsencode(live), os.fsencode(blank))
    assert [row[:3] for row in rows] == [
        ("M", b"/etc/hosts", None),
        ("D", b"/etc/motd", None),
        ("A", b"/motd", None),
    ]


def test_paths_are_sorted_by_their_components(tmp_path: Path) -> None:
    for name in ("a/b", "a-b", "a.d"):
        (tmp_path / "live" / name).mkdir(parents=True)
    (tmp_path / "blank").mkdir()
    rows = oracle.expected(os.fsencode(tmp_path / "live"), os.fsencode(tmp_path / "blank"))
    assert [row.path for row in rows] == [b"/a", b"/a/b", b"/a-b", b"/a.d"]


def test_paths_beyond_path_max_are_read(tmp_path: Path) -> None:
    live, blank = tmp_path / "live", tmp_path / "blank"
    live.mkdir()
    blank.mkdir()
    fd = os.open(live, os.O_RDONLY)
    for _ in range(20):
        os.mkdir(b"n" * 250, dir_fd=fd)
        below = os.open(b"n" * 250, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    rows = oracle.expected(os.fsencode(live), os.fsencode(blank))
    assert [len(row.path) for row in rows] == [251 * depth for depth in range(1, 21)]


def test_disagreements_name_what_is_missed_and_invented() -> None:
    rows = [
        oracle.Row("A", b"/a", None, False, "file", 1, 0o644, 0, 0, 5),
        oracle.Row("A", b"/d", None, False, "directory", None, 0o755, 0, 0, 5),
        oracle.Row("A", b"/stub", None, False, "directory", None, 0o755, 0, 0, None),
    ]
    right = [
        Change(Status.ADDED, b"/a", Kind.FILE, 1, 0o644, 0, 0, 5),
        Change(Status.ADDED, b"/d", Kind.DIRECTORY, 77, 0o755, 0, 0, 5),
        Change(Status.ADDED, b"/stub", Kind.DIRECTORY, 0, 0o755, 0, 0, 6),
    ]
    assert oracle.disagreements(rows, right) == []
    assert oracle.disagreements(rows, [right[1], right[0], right[2]]) == [
        "the changes are right, but not in order or not each once"
    ]
    assert oracle.disagreements(rows, [*right, right[0]]) != []
    assert oracle.disagreements(rows, [right[0]._replace(size=2), *right[1:]]) == [
        "invented A b'/a' (file size=2 mode=0644 0:0 mtime=5)",
        "missed   A b'/a' (file size=1 mode=0644 0:0 mtime=5)",
    ]
    assert oracle.disagreements(rows, [right[0]._replace(source=b"/b"), *right[1:]]) != []
