"""`drift diff` as text, NUL-terminated fields and JSON, from changes and from blocks alike."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drift.diff.stream import Block
from drift.model import Change, Kind, Status
from drift.names import shown
from drift.render.diff import as_json, as_nul, as_text, seconds


class FakeBlock(Block):
    """Files of one directory whose values are those of the changes they were made from."""

    __slots__ = ()

    def changes(self):
        for name in self.names:
            yield change(self.status, self.directory + name)


def change(status, path, **values):
    values = {"kind": Kind.FILE, "size": 7, "mode": 0o644, "uid": 1, "gid": 2, "mtime": 5} | values
    return Change(status, path, **values)


def block(status, directory, *names):
    return FakeBlock(status, directory, list(names), list(range(len(names))), None)


ITEMS = [
    change(Status.MODIFIED, b"/a\nb"),
    block(Status.ADDED, b"/dir\t/", b"one", b"two\xff"),
    change(Status.RENAMED, b"/new", source=b"/old\\"),
    change(Status.RENAMED, b"/new2", source=b"/old2", modified=True),
    block(Status.DELETED, b"/", b"gone"),
]


def test_text():
    assert "".join(as_text(ITEMS)) == (
        "M\t/a\\nb\n"
        "A\t/dir\\t/one\n"
        "A\t/dir\\t/two\\xff\n"
        "R\t/old\\\\\t/new\n"
        "R\t/old2\t/new2\n"
        "D\t/gone\n"
    )


def test_nul():
    assert b"".join(as_nul(ITEMS)) == (
        b"M\0/a\nb\0A\0/dir\t/one\0A\0/dir\t/two\xff\0R\0/old\\\0/new\0R\0/old2\0/new2\0D\0/gone\0"
    )


def test_json():
    hidden = {b"/new": b"/mount\xff"}
    rows = [json.loads(line) for line in as_json(ITEMS, hidden.get)]
    same = {"type": "file", "size": 7, "mode": "0644", "uid": 1, "gid": 2, "mtime": 5e-9}
    assert rows == [
        {"status": "M", "path": "/a\nb", **same},
        {"status": "A", "path": "/dir\t/one", **same},
        {"status": "A", "path": "/dir\t/two\udcff", **same},
        {
            "status": "R",
            "path": "/new",
            "from": "/old\\",
            "hidden_by": "/mount\udcff",
            **same,
        },
        {"status": "R", "path": "/new2", "from": "/old2", "modified": True, **same},
        {"status": "D", "path": "/gone", **same},
    ]


def test_a_time_is_exact_to_the_nanosecond():
    line = next(
        iter(as_json([change(Status.ADDED, b"/a", mtime=1_700_000_000_123_456_789)], {}.get))
    )
    assert line.endswith('"mtime": 1700000000.123456789}\n')


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0.000000000"),
        (1, "0.000000001"),
        (-1, "-0.000000001"),
        (-1_500_000_000, "-1.500000000"),
        (2**63 * 10**9, "9223372036854775808.000000000"),
    ],
)
def test_seconds(nanoseconds, text):
    assert seconds(nanoseconds) == text


@given(st.integers(-(2**63) * 10**9, 2**63 * 10**9))
def test_seconds_are_the_same_number(nanoseconds):
    assert Decimal(seconds(nanoseconds)) * 10**9 == nanoseconds


PATHS = st.binary(min_size=1, max_size=30).map(lambda name: b"/" + name.replace(b"\0", b""))


@given(st.lists(PATHS, max_size=5), PATHS)
def test_every_form_gives_back_every_name(paths, source):
    items = [change(Status.ADDED, path) for path in paths]
    items.append(change(Status.RENAMED, b"/last", source=source))
    text = "".join(as_text(items))
    assert text.replace("\n", "").replace("\t", "").isprintable()
    lines = [line.split("\t") for line in text.splitlines()]
    assert lines == [["A", shown(path)] for path in paths] + [["R", shown(source), "/last"]]
    fields = b"".join(as_nul(items)).split(b"\0")
    wanted = [field for path in paths for field in (b"A", path)]
    assert fields == [*wanted, b"R", source, b"/last", b""]
    rows = [json.loads(line) for line in as_json(items, lambda _: None)]
    assert [row["path"].encode("utf-8", "surrogateescape") for row in rows[:-1]] == paths
    assert rows[-1]["from"].encode("utf-8", "surrogateescape") == source
