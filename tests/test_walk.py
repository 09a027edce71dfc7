"""Two plain directories of any filesystem, compared entry by entry."""

import errno
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drift.diff.content import compare_pairs, open_below
from drift.diff.descent import KEPT_OPEN, Descent
from drift.diff.stream import settle
from drift.diff.walk import DIRECTORY, Walk

PROJECT = Path(__file__).parents[1]

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


class Sides:
    """A live and a blank directory to fill, and what a walk says about them."""

    def __init__(self, directory):
        self.live = directory / "live"
        self.blank = directory / "blank"
        self.live.mkdir()
        self.blank.mkdir()
        self.skipped = []

    def both(self, name, content="same"):
        for side in (self.live, self.blank):
            (side / name).write_text(content)
            os.utime(side / name, (1, 1))

    def changes(self, barriers=frozenset(), *, empty_blank=False, on_open=None):
        self.skipped = []
        live = os.open(self.live, DIRECTORY)
        blank = None if empty_blank else os.open(self.blank, DIRECTORY)
        walk = Walk(
            live,
            blank,
            is_btrfs=lambda _: False,
            identity=lambda _parent, _name, found, _live: (found.st_dev, found.st_ino),
            skip=self.skip,
            barriers=barriers,
        )

        def compare(pairs):
            return compare_pairs(
                pairs,
                lambda path: open_below(live, path),
                lambda path: open_below(blank, path),
                self.skip,
            )

        try:
            return list(settle(walk.events(), compare))
        finally:
            os.close(live)
            if blank is not None:
                os.close(blank)

    def said(self, **how):
        return [told(change) for change in self.changes(**how)]

    def skip(self, path, error):
        self.skipped.append((path, errno.errorcode[error.errno]))


def told(change):
    line = [change.status.value, change.path, change.kind.value]
    if change.source is not None:
        line.append(change.source)
    if change.modified:
        line.append("modified")
    return tuple(line)


@pytest.fixture
def sides(tmp_path):
    return Sides(tmp_path)


def test_equal_trees_differ_in_nothing_not_even_by_their_times(sides):
    sides.both("file")
    for side in (sides.live, sides.blank):
        (side / "directory").mkdir()
        (side / "link").symlink_to("file")
    os.utime(sides.live / "file", (5, 5))
    assert sides.said() == []


def test_each_status(sides):
    for name in ("content", "size", "mode", "type", "same"):
        sides.both(name)
    for side in (sides.live, sides.blank):
        (side / "empty").mkdir()
    (sides.live / "content").write_text("SAME")
    (sides.live / "size").write_text("longer than the same")
    (sides.live / "mode").chmod(0o600)
    (sides.live / "type").unlink()
    (sides.live / "type").mkdir()
    (sides.live / "type" / "below").write_text("")
    (sides.live / "empty").chmod(0o700)
    (sides.live / "new").write_text("")
    (sides.blank / "gone").mkdir()
    (sides.blank / "gone" / "below").write_text("")
    assert sides.said() == [
        ("M", b"/content", "file"),
        ("P", b"/empty", "directory"),
        ("D", b"/gone", "directory"),
        ("D", b"/gone/below", "file"),
        ("P", b"/mode", "file"),
        ("A", b"/new", "file"),
        ("M", b"/size", "file"),
        ("T", b"/type", "directory"),
        ("A", b"/type/below", "file"),
    ]


def test_the_top_directory_has_properties_too(sides):
    sides.live.chmod(0o700)
    assert sides.said() == [("P", b"/", "directory")]


def test_without_a_blank_everything_is_new(sides):
    (sides.live / "a").mkdir()
    (sides.live / "a" / "b").write_text("")
    assert sides.said(empty_blank=True) == [("A", b"/a", "directory"), ("A", b"/a/b", "file")]


def test_every_kind_of_entry(sides):
    os.mkfifo(sides.live / "fifo")
    (sides.live / "link").symlink_to("/nowhere")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.fsencode(sides.live / "socket"))
        assert sides.said() == [
            ("A", b"/fifo", "fifo"),
            ("A", b"/link", "symlink"),
            ("A", b"/socket", "socket"),
        ]
        os.mkfifo(sides.blank / "fifo")
        (sides.blank / "link").symlink_to("/elsewhere")
        assert sides.said() == [("M", b"/link", "symlink"), ("A", b"/socket", "socket")]


def test_a_change_carries_what_lstat_says(sides):
    (sides.live / "link").symlink_to("/target")
    (sides.live / "file").write_text("12345")
    (sides.live / "file").chmod(0o4750)
    os.utime(sides.live / "file", ns=(0, 1_234_567_890_123_456_789))
    file, link = sides.changes()
    assert (file.size, file.mode, file.uid, file.gid, file.mtime) == (
        5,
        0o4750,
        os.geteuid(),
        os.getegid(),
        1_234_567_890_123_456_789,
    )
    assert link.target == b"/target"


@root_only
def test_devices_differ_by_their_numbers(sides):
    os.mknod(sides.live / "null", 0o20666, os.makedev(1, 3))
    os.mknod(sides.blank / "null", 0o20666, os.makedev(1, 5))
    assert sides.said() == [("M", b"/null", "character")]


@root_only
def test_an_owner_is_a_property(sides):
    sides.both("file")
    os.chown(sides.live / "file", 12, 34)
    assert sides.said() == [("P", b"/file", "file")]


def test_extended_attributes_are_properties(sides):
    sides.both("file")
    try:
        os.setxattr(sides.live / "file", "user.note", b"kept")
    except OSError as error:
        pytest.skip(f"no user xattrs here: {error}")
    assert sides.said() == [("P", b"/file", "file")]
    os.setxattr(sides.blank / "file", "user.note", b"other")
    assert sides.said() == [("P", b"/file", "file")]
    os.setxattr(sides.blank / "file", "user.note", b"kept")
    assert sides.said() == []


def test_a_hard_link_across_both_trees_is_a_rename(sides):
    (sides.blank / "old").write_text("one")
    os.link(sides.blank / "old", sides.live / "new")
    assert sides.said() == [("R", b"/new", "file", b"/old")]


def test_more_new_names_than_old_ones_leave_additions(sides):
    (sides.blank / "old").write_text("one")
    for name in ("a", "b"):
        os.link(sides.blank / "old", sides.live / name)
    assert sides.said() == [("R", b"/a", "file", b"/old"), ("A", b"/b", "file")]


def test_a_hard_link_that_stays_is_no_rename(sides):
    (sides.blank / "one").write_text("")
    os.link(sides.blank / "one", sides.live / "one")
    os.link(sides.blank / "one", sides.live / "two")
    assert sides.said() == [("A", b"/two", "file")]


ODD_NAMES = [
    b"new\nline",
    b"tab\tbed",
    b"\xff\xfe",
    "\N{FOX FACE}".encode(),
    b" ",
    b"\\",
    b"n" * 255,
]


def test_names_of_any_bytes_come_sorted_by_component(sides):
    top = os.fsencode(sides.live)
    os.mkdir(top + b"/a")
    for name in (b"a-", b"a/b", *ODD_NAMES):
        Path(os.fsdecode(top + b"/" + name)).write_text("")
    paths = [change.path for change in sides.changes()]
    assert paths == sorted(
        [b"/a", b"/a/b", b"/a-", *(b"/" + name for name in ODD_NAMES)],
        key=lambda path: path.split(b"/"),
    )


def make_deep(top, levels, name="d"):
    """A chain of directories that no path reaches, with a file in the last."""
    fd = os.open(top, DIRECTORY)
    for _ in range(levels):
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)


def test_a_tree_deeper_than_the_open_files_and_the_longest_path(sides):
    name = "n" * 20
    levels = 1500
    try:
        for side in (sides.live, sides.blank):
            make_deep(side, levels, name)
        fd = os.open(sides.live, DIRECTORY)
        os.close(os.open("late", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        os.close(fd)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        used = len(os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 2 * KEPT_OPEN + 10, hard))
        try:
            assert sides.said() == [("A", b"/late", "file")]
            assert sides.skipped == []
            only_live = sides.changes(empty_blank=True)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert sides.skipped == []
        assert len(only_live) == levels + 2
        assert only_live[-1].path == b"/" + b"/".join([name.encode()] * levels) + b"/file"
    finally:
        for side in (sides.live, sides.blank):
            subprocess.run(["rm", "-rf", side], check=True)


def test_contents_far_below_the_longest_path_are_compared(sides):
    name = "n" * 200
    try:
        for side, content in ((sides.live, b"one"), (sides.blank, b"two")):
            make_deep(side, 50, name)
            fd = os.open(side, DIRECTORY)
            for _ in range(50):
                below = os.open(name, DIRECTORY, dir_fd=fd)
                os.close(fd)
                fd = below
            file = os.open("file", os.O_WRONLY, dir_fd=fd)
            os.write(file, content)
            os.close(file)
            os.close(fd)
        path = b"/" + b"/".join([name.encode()] * 50) + b"/file"
        assert sides.said() == [("M", path, "file")]
    finally:
        for side in (sides.live, sides.blank):
            subprocess.run(["rm", "-rf", side], check=True)


def as_nobody(program, *arguments):
    """Run a Python program of this module's as a user who may not read everything."""
    return subprocess.run(
        [
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--",
            sys.executable,
            "-c",
            program,
            *map(str, arguments),
        ],
        env={**os.environ, "PYTHONPATH": f"{PROJECT}:{PROJECT / 'tests'}"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.fixture
def open_sides():
    """Sides where a user without rights gets in."""
    directory = tempfile.mkdtemp(dir="/tmp")
    os.chmod(directory, 0o755)
    yield Sides(Path(directory))
    shutil.rmtree(directory)


WALK_AS_NOBODY = """
import sys
from pathlib import Path
from test_walk import Sides
sides = Sides.__new__(Sides)
sides.live, sides.blank = Path(sys.argv[1]) / "live", Path(sys.argv[1]) / "blank"
print(sides.said(), sides.skipped)
"""


@root_only
@pytest.mark.parametrize("side", ["live", "blank"])
def test_an_unreadable_directory_is_skipped_and_nothing_invented_below_it(open_sides, side):
    for top in (open_sides.live, open_sides.blank):
        (top / "secret").mkdir()
        (top / "secret" / "inside").write_text("")
    (getattr(open_sides, side) / "secret").chmod(0o711)
    (open_sides.blank / "gone").write_text("")
    assert as_nobody(WALK_AS_NOBODY, open_sides.live.parent) == (
        "[('D', b'/gone', 'file'), ('P', b'/secret', 'directory')] [(b'/secret', 'EACCES')]\n"
    )


@root_only
def test_a_directory_that_may_be_listed_but_not_entered(open_sides):
    for top in (open_sides.live, open_sides.blank):
        (top / "listed").mkdir()
        (top / "listed" / "inside").write_text("")
        (top / "listed").chmod(0o744)
    assert as_nobody(WALK_AS_NOBODY, open_sides.live.parent) == (
        "[] [(b'/listed/inside', 'EACCES')]\n"
    )


@root_only
def test_an_unreadable_file_of_equal_size_is_skipped_and_counts_as_modified(open_sides):
    open_sides.both("secret")
    (open_sides.live / "secret").chmod(0o600)
    (open_sides.blank / "secret").chmod(0o600)
    assert as_nobody(WALK_AS_NOBODY, open_sides.live.parent) == (
        "[('M', b'/secret', 'file')] [(b'/secret', 'EACCES')]\n"
    )


def test_what_vanishes_between_listing_and_reading_is_skipped(sides, monkeypatch):
    sides.both("a")
    sides.both("b")
    real = os.stat

    def stat(name, **where):
        if name == b"a":
            (sides.live / "b").unlink(missing_ok=True)
        return real(name, **where)

    monkeypatch.setattr(os, "stat", stat)
    said = sides.said()
    monkeypatch.undo()
    assert (said, sides.skipped) == ([], [(b"/b", "ENOENT")])


def test_the_mount_points_of_the_live_root_are_not_entered(sides):
    for side in (sides.live, sides.blank):
        (side / "mount").mkdir()
    (sides.live / "mount").chmod(0o700)
    (sides.live / "mount" / "inside").write_text("")
    (sides.live / "new").mkdir()
    (sides.live / "new" / "inside").write_text("")
    assert sides.said(barriers=frozenset([b"/mount", b"/new"])) == [("A", b"/new", "directory")]


def test_without_open_files_the_directory_is_skipped(sides):
    make_deep(sides.live, 5)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    used = len(os.listdir("/proc/self/fd")) - 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 6, hard))
    try:
        said = sides.said()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert said[0] == ("A", b"/d", "directory")
    assert len(said) < 6
    assert [error for _, error in sides.skipped] == ["EMFILE"]
    assert sides.skipped[0][0] == said[-1][1]


class TestDescent:
    def test_comes_back_to_directories_that_were_closed(self, tmp_path):
        make_deep(tmp_path, KEPT_OPEN * 3)
        top = os.open(tmp_path, DIRECTORY)
        descent = Descent(top)
        seen = [os.fstat(descent.fd).st_ino]
        for _ in range(KEPT_OPEN * 3):
            descent.enter(b"d")
            seen.append(os.fstat(descent.fd).st_ino)
        while len(seen) > 1:
            assert os.fstat(descent.fd).st_ino == seen.pop()
            descent.leave()
        assert os.fstat(descent.fd).st_ino == seen.pop()
        descent.close()
        os.close(top)

    def test_finds_back_by_name_when_the_way_up_leads_elsewhere(self, tmp_path):
        make_deep(tmp_path, KEPT_OPEN + 3)
        top = os.open(tmp_path, DIRECTORY)
        descent = Descent(top)
        for _ in range(KEPT_OPEN + 1):
            descent.enter(b"d")
        # The first level that is closed loses what it held.
        os.rename(tmp_path / "d" / "d", tmp_path / "moved")
        expected = (tmp_path / "d").stat().st_ino
        for _ in range(KEPT_OPEN):
            descent.leave()
        assert os.fstat(descent.fd).st_ino == expected
        descent.close()
        os.close(top)

    def test_says_when_the_directory_above_is_gone_and_goes_on_above_that(self, tmp_path):
        make_deep(tmp_path, KEPT_OPEN + 3)
        top = os.open(tmp_path, DIRECTORY)
        descent = Descent(top)
        for _ in range(KEPT_OPEN + 2):
            descent.enter(b"d")
        os.rename(tmp_path / "d" / "d" / "d", tmp_path / "moved")
        os.rename(tmp_path / "d" / "d", tmp_path / "d" / "other")
        for _ in range(KEPT_OPEN - 1):
            descent.leave()
        with pytest.raises(FileNotFoundError):
            descent.leave()
        descent.leave()
        assert os.fstat(descent.fd).st_ino == (tmp_path / "d").stat().st_ino
        descent.close()
        os.close(top)


NAMES = st.sampled_from(["a", "b", "c", "\xff", "a\n"])
LEAVES = st.one_of(
    st.sampled_from([b"", b"one", b"two", b"three"]),
    st.sampled_from(["->x", "->y"]),
)
TREES = st.recursive(
    st.dictionaries(NAMES, LEAVES, max_size=3),
    lambda below: st.dictionaries(NAMES, st.one_of(LEAVES, below), max_size=3),
    max_leaves=8,
)


def build(top, tree):
    os.mkdir(top)
    for name, what in tree.items():
        path = top + b"/" + name.encode("latin-1")
        if isinstance(what, dict):
            build(path, what)
        elif isinstance(what, str):
            os.symlink(what, path)
        else:
            Path(os.fsdecode(path)).write_bytes(what)


def flat(tree, above=b""):
    """Every path of a generated tree with what makes it what it is."""
    rows = {}
    for name, what in tree.items():
        path = above + b"/" + name.encode("latin-1")
        rows[path] = "directory" if isinstance(what, dict) else what
        if isinstance(what, dict):
            rows |= flat(what, path)
    return rows


def expected(live, blank):
    here, there = flat(live), flat(blank)
    rows = []
    for path in sorted({*here, *there}, key=lambda path: path.split(b"/")):
        if path not in there:
            rows.append(("A", path))
        elif path not in here:
            rows.append(("D", path))
        elif here[path] != there[path]:
            types = [
                what if what == "directory" else type(what) for what in (here[path], there[path])
            ]
            rows.append(("M" if types[0] == types[1] else "T", path))
    return rows


@settings(max_examples=60, deadline=None)
@given(TREES, TREES)
def test_a_walk_finds_exactly_what_differs_and_the_way_back_mirrors_it(live, blank):
    with tempfile.TemporaryDirectory() as directory:
        sides = Sides.__new__(Sides)
        sides.live, sides.blank = Path(directory) / "live", Path(directory) / "blank"
        build(os.fsencode(sides.live), live)
        build(os.fsencode(sides.blank), blank)
        there = [(change.status.value, change.path) for change in sides.changes()]
        sides.live, sides.blank = sides.blank, sides.live
        back = [(change.status.value, change.path) for change in sides.changes()]
        sides.blank = sides.live
        assert sides.changes() == []
    mirror = {"A": "D", "D": "A"}
    assert there == expected(live, blank)
    assert back == [(mirror.get(status, status), path) for status, path in there]
