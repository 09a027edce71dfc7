"""Are the bytes of two files equal: read, compared and never guessed."""

import errno
import functools
import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drift.diff.content import (
    BLOCK,
    MIDDLE,
    MUCH,
    SMALL,
    compare_pairs,
    digest,
    open_below,
    open_file,
    same_bytes,
)
from drift.diff.stream import Pending
from drift.model import Change, Kind, Status

SIZES = (0, 1, SMALL - 1, SMALL, SMALL + 1, MIDDLE, MIDDLE + 1, BLOCK, BLOCK + 1, 3 * BLOCK + 17)


class Pairs:
    """Files of two directories to compare, and what was said about them."""

    def __init__(self, directory):
        self.sides = [directory / "live", directory / "blank"]
        for side in self.sides:
            side.mkdir()
        self.tops = [os.open(side, os.O_RDONLY) for side in self.sides]
        self.pending = []
        self.unreadable = []

    def add(self, name, live, blank):
        for side, content in zip(self.sides, (live, blank), strict=True):
            (side / name).write_bytes(content)
        stats = [(side / name).stat() for side in self.sides]
        path = b"/" + name.encode()
        change = Change(Status.MODIFIED, path, Kind.FILE, len(live), 0o644, 0, 0, 0)
        self.pending.append(
            Pending(path, stats[0].st_ino, path, stats[1].st_ino, len(live), None, change)
        )

    def compared(self):
        return compare_pairs(
            self.pending,
            lambda path: open_below(self.tops[0], path),
            lambda path: open_below(self.tops[1], path),
            lambda path, error: self.unreadable.append((path, error.errno, error.strerror)),
        )


@pytest.fixture
def pairs(tmp_path):
    made = Pairs(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    yield made
    assert len(os.listdir("/proc/self/fd")) == before
    for top in made.tops:
        os.close(top)


PIECES = st.lists(
    st.tuples(st.integers(0, 40), st.sampled_from([b"", b"\0", b"x", b"y"])), max_size=6
)


@settings(max_examples=60)
@given(PIECES, PIECES)
def test_holes_are_zeros_wherever_they_are(tmp_path_factory, left, right):
    directory = tmp_path_factory.mktemp("holes")
    size = 41 * SMALL
    contents = []
    for name, pieces in (("left", left), ("right", right)):
        with open(directory / name, "wb") as file:
            file.truncate(size)
            for place, content in pieces:
                os.pwrite(file.fileno(), content * 5000, place * SMALL)
        contents.append((directory / name).read_bytes())
    files = [functools.partial(open_file, bytes(directory / name)) for name in ("left", "right")]
    assert same_bytes(*files, size) == (contents[0] == contents[1])


def test_what_both_have_holes_for_is_not_read(tmp_path):
    files = []
    for name in ("left", "right"):
        with open(tmp_path / name, "wb") as file:
            file.truncate(1 << 42)
            os.pwrite(file.fileno(), b"end", 1 << 41)
        files.append(functools.partial(open_file, bytes(tmp_path / name)))
    started = time.monotonic()
    assert same_bytes(*files, 1 << 42)
    with open(tmp_path / "right", "r+b") as file:
        os.pwrite(file.fileno(), b"x", 1 << 40)
    assert not same_bytes(*files, 1 << 42)
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("size", SIZES)
def test_equal_bytes_are_equal_at_every_size(pairs, size):
    content = os.urandom(size)
    pairs.add("file", content, content)
    assert pairs.compared() == [True]


@pytest.mark.parametrize("size", SIZES[1:])
@pytest.mark.parametrize("place", ["first", "last"])
def test_one_other_byte_is_a_difference(pairs, size, place):
    content = bytearray(os.urandom(size))
    other = bytearray(content)
    other[0 if place == "first" else -1] ^= 1
    pairs.add("file", bytes(content), bytes(other))
    assert pairs.compared() == [False]


@pytest.mark.parametrize("much", [1, MUCH])
def test_answers_come_in_the_order_of_the_pairs_whatever_is_read_first(pairs, monkeypatch, much):
    monkeypatch.setattr("drift.diff.content.MUCH", much)
    wanted = []
    for number, size in enumerate([5, 3 * SMALL, 0, 2 * SMALL, SMALL, 7 * SMALL, 9, BLOCK * 2]):
        equal = number % 3 != 0
        content = bytes([number]) * size
        pairs.add(f"{number}", content, content if equal else b"\xff" * size)
        wanted.append(equal or size == 0)
    assert pairs.compared() == wanted


@pytest.mark.parametrize("sizes", [[2 * MUCH, 1], [SMALL + 1] * 9])
def test_one_large_pair_or_a_few_need_no_threads(pairs, monkeypatch, sizes):
    for number, size in enumerate(sizes):
        pairs.add(f"{number}", b"a" * size, b"a" * size)
    monkeypatch.setattr("concurrent.futures.ThreadPoolExecutor", None)
    assert pairs.compared() == [True] * len(sizes)


def test_much_is_read_by_threads(pairs, monkeypatch):
    made = []

    class Pool(ThreadPoolExecutor):
        def __init__(self, *args):
            made.append(args)
            super().__init__(*args)

    for number in range(2):
        pairs.add(f"{number}", bytes(MUCH), bytes(MUCH))
    monkeypatch.setattr("concurrent.futures.ThreadPoolExecutor", Pool)
    assert pairs.compared() == [True, True]
    assert made


def test_holes_are_zeros(pairs):
    pairs.add("sparse", bytes(4 * SMALL), bytes(4 * SMALL))
    os.truncate(pairs.sides[0] / "sparse", 0)
    os.truncate(pairs.sides[0] / "sparse", 4 * SMALL)
    assert pairs.compared() == [True]


def test_what_cannot_be_opened_is_told_and_has_no_answer(pairs):
    pairs.add("a", b"one", b"one")
    pairs.add("b", b"one", b"one")
    (pairs.sides[1] / "a").unlink()
    assert pairs.compared() == [None, True]
    assert pairs.unreadable == [(b"/a", errno.ENOENT, "No such file or directory")]


@pytest.mark.parametrize("what", ["size", "inode", "fifo", "directory"])
def test_a_file_that_became_another_since_it_was_listed_differs(pairs, what):
    pairs.add("file", b"one", b"one")
    path = pairs.sides[0] / "file"
    if what == "size":
        path.write_bytes(b"longer")
    else:
        path.rename(path.with_name("kept"))
        if what == "inode":
            path.write_bytes(b"one")
        elif what == "fifo":
            os.mkfifo(path)
        else:
            path.mkdir()
    assert pairs.compared() == [False]
    assert pairs.unreadable == []


def test_a_symlink_is_never_followed(pairs):
    pairs.add("file", b"one", b"one")
    path = pairs.sides[0] / "file"
    path.rename(path.with_name("kept"))
    path.symlink_to("kept")
    assert pairs.compared() == [None]
    assert [(path, error) for path, error, _ in pairs.unreadable] == [(b"/file", errno.ELOOP)]


@pytest.mark.parametrize(("size", "call"), [(MIDDLE, "pread"), (MIDDLE + 1, "preadv")])
def test_a_reading_error_is_told(pairs, monkeypatch, size, call):
    pairs.add("file", b"a" * size, b"a" * size)

    def fail(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, call, fail)
    assert pairs.compared() == [None]
    assert pairs.unreadable == [(b"/file", errno.EIO, "Input/output error")]


def test_reading_leaves_no_trace_in_the_atime(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"content")
    os.utime(path, (1, 2))
    fd = open_file(os.fsencode(path))
    assert os.read(fd, 10) == b"content"
    os.close(fd)
    assert path.stat().st_atime == 1


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 255), min_size=1, max_size=60))
def test_a_path_of_any_length_is_opened(tmp_path_factory, lengths):
    top = os.open(tmp_path_factory.mktemp("long"), os.O_RDONLY)
    fd = os.dup(top)
    for length in lengths:
        os.mkdir("n" * length, dir_fd=fd)
        below = os.open("n" * length, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    file = os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=fd)
    wanted = os.fstat(file).st_ino
    path = b"/" + b"/".join(b"n" * length for length in lengths) + b"/file"
    opened = open_below(top, path)
    assert os.fstat(opened).st_ino == wanted
    for one in (file, fd, top, opened):
        os.close(one)


def test_the_digest_reads_from_the_beginning(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"a" * (BLOCK + 3))
    fd = os.open(path, os.O_RDONLY)
    os.lseek(fd, 100, os.SEEK_SET)
    first = digest(fd)
    assert digest(fd) == first
    os.close(fd)
