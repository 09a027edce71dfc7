"""Trees and rule files that nobody sound has written: an answer or a sentence, and an end."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import hostile
import hostile_rules
import oracle
import pytest
from hostile import BLANK, LIVE, SINCE, Item, keeper, liar
from hypothesis import given
from hypothesis import strategies as st

from drift.btrfs import items, trees
from drift.btrfs.columns import Columns, read_columns
from drift.btrfs.ioctl import HEADER
from drift.btrfs.items import MalformedItemError
from drift.diff.trees import Tree
from drift.errors import DriftError

if TYPE_CHECKING:
    from btrfs_lab import Lab

engines: Any = pytest.importorskip("engines")

KINDS = (
    items.INODE_ITEM,
    items.INODE_REF,
    items.INODE_EXTREF,
    items.XATTR_ITEM,
    items.DIR_ITEM,
    items.DIR_INDEX,
    items.EXTENT_DATA,
)
FORMS = (0o100644, 0o040755, 0o120777, 0o010644, 0o020600, 0)
numbers = st.integers(256, 262)
generations = st.sampled_from([1, SINCE, SINCE + 1, SINCE + 50])
names = st.sampled_from([b"a", b"b", b"nested", b"\xff" * 255])


def inode_item(generation: int, transid: int, size: int, mode: int) -> bytes:
    return items.INODE.pack(
        *(generation, transid, size, 0, 0, 1, 0, 0, mode, 0, 0, 7),
        *(0, 0, 0, 0, 0, 0, 0, 0),
    )


def ref(name: bytes) -> bytes:
    return items.INODE_REF_HEAD.pack(2, len(name)) + name


def entry(inode: int, name: bytes, kind: int = items.INODE_ITEM) -> bytes:
    return items.DIR_ITEM_HEAD.pack(inode, kind, 0, SINCE, 0, len(name), 1) + name


payloads = st.one_of(
    st.builds(inode_item, generations, generations, st.integers(0, 20), st.sampled_from(FORMS)),
    st.builds(ref, names),
    st.builds(entry, numbers, names, st.sampled_from([items.INODE_ITEM, items.ROOT_ITEM])),
    st.binary(max_size=60),
)
an_item = st.builds(
    Item,
    st.sampled_from([LIVE, BLANK, hostile.NESTED]),
    numbers,
    st.sampled_from([*KINDS, 36, 255]),
    st.one_of(numbers, st.integers(0, 3)),
    payloads,
)
# Items that are what their keys say, so that what is read leads on to more.
a_sound_item = st.one_of(
    st.builds(
        lambda tree, inode, payload: Item(tree, inode, items.INODE_ITEM, 0, payload),
        st.sampled_from([LIVE, BLANK, hostile.NESTED]),
        numbers,
        st.builds(
            inode_item, generations, generations, st.integers(0, 9), st.sampled_from(FORMS[:5])
        ),
    ),
    st.builds(
        lambda tree, inode, parent, name: Item(tree, inode, items.INODE_REF, parent, ref(name)),
        st.sampled_from([LIVE, BLANK, hostile.NESTED]),
        *(numbers, numbers, names),
    ),
    st.builds(
        lambda tree, inode, index, payload: Item(tree, inode, items.DIR_INDEX, index, payload),
        st.sampled_from([LIVE, BLANK, hostile.NESTED]),
        *(numbers, st.integers(2, 5), st.builds(entry, numbers, names)),
    ),
)


@given(st.lists(st.tuples(st.integers(0, 5), st.binary(max_size=300)), max_size=4))
def test_no_answer_raises_anything_but_a_sentence(answers):
    with suppress(DriftError), hostile.answering(liar(answers)) as search:
        hostile.read_everything(search)


@given(st.lists(st.one_of(an_item, a_sound_item), max_size=40), st.booleans(), st.booleans())
def test_no_tree_raises_anything_but_a_sentence(made, related, whole):
    with suppress(DriftError), hostile.answering(keeper(made)) as search:
        hostile.read_everything(search)
    with suppress(DriftError), hostile.answering(keeper(made)) as search:
        hostile.compare_everything(search, since=SINCE if related else 0, whole=whole)


@given(st.lists(an_item, max_size=10))
def test_items_come_back_from_their_bytes(made):
    assert hostile.items_from(hostile.items_to(made)) == made


def test_an_answer_that_leads_back_is_damage():
    """It would be asked for again for ever."""
    early = HEADER.pack(SINCE, 256, 0, items.INODE_ITEM, 160) + inode_item(1, 1, 0, 0o040755)
    filler = HEADER.pack(SINCE, 300, 0, 200, 65000) + bytes(65000)
    with hostile.answering(liar([(5, filler * 4 + early)])) as search:
        for read in (
            lambda: list(trees.read_items(search, LIVE, (256, 0, 1), (400, 255, 0))),
            lambda: list(trees.read_nodes(search, LIVE, [299, 300, 301])),
            lambda: read_columns(search, LIVE, 0, first=257, into=Columns()),
        ):
            with pytest.raises(MalformedItemError, match="out of order"):
                read()


def test_an_item_that_is_longer_than_its_answer_is_damage():
    answers = [(2, HEADER.pack(SINCE, 256, 0, items.XATTR_ITEM, 2**31))]
    for read in (
        lambda search: list(trees.read_nodes(search, LIVE, [256])),
        lambda search: read_columns(search, LIVE, 0, into=Columns()),
    ):
        with (
            pytest.raises(MalformedItemError, match="longer than"),
            hostile.answering(liar(answers)) as search,
        ):
            read(search)


def directory(tree, inode, entries, parent, name):
    size = 2 * sum(len(entry_name) for entry_name, _ in entries)
    return [
        Item(tree, inode, items.INODE_ITEM, 0, inode_item(SINCE + 1, SINCE + 1, size, 0o040755)),
        Item(tree, inode, items.INODE_REF, parent, ref(name)),
        *(
            Item(tree, inode, items.DIR_INDEX, 2 + place, entry(number, entry_name))
            for place, (entry_name, number) in enumerate(entries)
        ),
    ]


@pytest.mark.parametrize("related", [True, False])
@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("stray", [b"", b"stray"], ids=["by rows", "by entries"])
def test_directories_that_lie_in_each_other_come_to_an_end(monkeypatch, related, whole, stray):
    """There are as many ways round as names, to the power of the depth."""
    monkeypatch.setattr(hostile, "MOST_EVENTS", 10**9)
    more = [(stray, 999)] if stray else []
    made = [
        *directory(LIVE, 256, [(b"a", 257)], 256, b".."),
        *directory(LIVE, 257, [(b"b", 258), (b"c", 259), *more], 256, b"a"),
        *directory(LIVE, 258, [(b"a", 257), (b"d", 259)], 257, b"b"),
        *directory(LIVE, 259, [(b"a", 257), (b"d", 258)], 257, b"c"),
        Item(LIVE, 257, items.INODE_REF, 258, ref(b"a")),
        Item(LIVE, 257, items.INODE_REF, 259, ref(b"a")),
        Item(LIVE, 258, items.INODE_REF, 259, ref(b"d")),
        Item(LIVE, 259, items.INODE_REF, 258, ref(b"d")),
        *directory(BLANK, 256, [], 256, b".."),
    ]
    with suppress(DriftError), hostile.answering(keeper(made)) as search:
        hostile.compare_everything(search, since=SINCE if related else 0, whole=whole)


@pytest.mark.btrfs
def test_two_directories_moved_into_each_other_meanwhile(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is read of either is true of its moment; together they would have no end."""
    blank = lab.create("blank")
    os.makedirs(blank + b"/top/a/b/below")
    live = lab.snapshot("blank", "live")
    os.rename(live + b"/top", live + b"/new")
    a = os.stat(live + b"/new/a").st_ino
    real = Tree.entries

    def entries(tree: Tree, inode: int) -> Any:
        found = real(tree, inode)
        if inode == a and os.path.exists(live + b"/new/a"):
            os.rename(live + b"/new/a/b", live + b"/b")
            os.rename(live + b"/new/a", live + b"/b/a")
            lab.sync()
        return found

    monkeypatch.setattr(Tree, "entries", entries)
    changes, skipped = engines.diff_and_skipped(live, blank)
    assert os.path.exists(live + b"/b/a")
    told = {change.path for change in changes if not change.path.startswith(b"/top/")}
    assert told <= {b"/new", b"/new/a", b"/new/a/b"}
    assert any(item.reason == "it vanished while drift was reading" for item in skipped)
    rows = oracle.expected(live, blank)
    assert oracle.disagreements(rows, engines.diff(live, blank)) == []


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_no_bytes_of_a_rule_file_raise_anything_but_faults(data):
    hostile_rules.try_bytes(data)


keys = st.sampled_from(
    ["directory", "file", "path", "paths", "verdict", "why", "mode", "examples", "not", "x"]
)
values = st.sampled_from(
    ['"/a/**"', '"~/x"', '["/a", 1]', '"persist"', '"0700"', "true", "1e400", "2020-01-01", "{}"]
)
lines = st.one_of(
    st.builds(lambda key, value: f"{key} = {value}", keys, values),
    st.sampled_from(["[[rule]]", "[rule]", 'service = "x"', "[[rule.rule]]", "'''", "#\x7f", "[a"]),
)


@given(st.lists(lines, max_size=12))
def test_no_lines_of_a_rule_file_raise_anything_but_faults(made):
    hostile_rules.try_bytes("\n".join(made).encode())
