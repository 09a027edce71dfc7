"""Settling an inode by its items says what comparing two nodes says; processes lose nothing of it."""

from __future__ import annotations

import marshal
import stat

from hypothesis import given, settings
from hypothesis import strategies as st

from drift.btrfs.items import (
    DIR_ITEM_HEAD,
    EXTENT_DATA,
    FILE_EXTENT_HEAD,
    INODE,
    INODE_ITEM,
    INODE_REF,
    INODE_REF_HEAD,
    XATTR_ITEM,
    Link,
)
from drift.btrfs.trees import Node, Parts, node_of
from drift.diff.equality import same_content, same_properties
from drift.diff.touched import _add_in_place
from drift.diff.unequal import Apart, Settled, Unequal

INODE_NUMBER, PARENT = 300, 256
# Few values each, so that two inodes are often alike.
FEW = st.integers(0, 1)
NAMES = st.sampled_from([b"a", b"b"])
SOME_NAMES = st.lists(NAMES, max_size=2, unique=True)
FIELDS = {
    "generation": FEW,
    "transid": FEW,
    "size": st.sampled_from([0, 1, 3]),
    "links": st.sampled_from([*[(b"a",)] * 4, (b"b",), (b"a", b"b")]),
    "nlink": st.sampled_from([*[1] * 5, 2]),
    "ref_index": st.sampled_from([2, 2, 3]),
    "uid": FEW,
    "form": st.sampled_from([*[stat.S_IFREG] * 3, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO]),
    "mode": st.sampled_from([0o644, 0o600]),
    "sequence": FEW,
    "mtime": st.tuples(st.sampled_from([-1, 0, 5]), FEW),
    "otime": st.tuples(FEW, FEW),
    "xattrs": st.lists(st.tuples(NAMES, NAMES, FEW), max_size=2, unique_by=lambda one: one[0]),
    "entries": st.lists(st.tuples(NAMES, FEW, FEW), max_size=2, unique_by=lambda one: one[0]),
    "extents": st.lists(
        st.tuples(st.sampled_from([0, 4096]), FEW, FEW, NAMES),
        max_size=2,
        unique_by=lambda one: one[0],
    ),
}


def index(name, objectid, transid, form):
    return DIR_ITEM_HEAD.pack(objectid, INODE_ITEM, 0, transid, 0, len(name), form) + name


def xattr(name, value, transid):
    return DIR_ITEM_HEAD.pack(0, 0, 0, transid, len(value), len(name), 8) + name + value


def extent(generation, size, kind, data):
    return FILE_EXTENT_HEAD.pack(generation, size, 0, 0, 0, kind) + data


def parts_of(inode):
    """What an inode with such FIELDS consists of."""
    form = inode["form"]
    head = INODE.pack(
        inode["generation"], inode["transid"], inode["size"], 0, 0, inode["nlink"], inode["uid"], 0,
        form | inode["mode"], 0, 0, inode["sequence"], 0, 0, 0, 0, *inode["mtime"], *inode["otime"],
    )  # fmt: skip
    refs = b"".join(
        INODE_REF_HEAD.pack(inode["ref_index"], len(name)) + name for name in inode["links"]
    )
    found = [(INODE_ITEM, 0, head), (INODE_REF, PARENT, refs)]
    found += [(XATTR_ITEM, name[0], xattr(name, *rest)) for name, *rest in sorted(inode["xattrs"])]
    if form == stat.S_IFDIR:
        return Parts(found, [index(*entry, 1) for entry in inode["entries"]])
    extents = sorted(inode["extents"])
    found += [
        (EXTENT_DATA, offset, extent(generation, 4096, kind, data))
        for offset, generation, kind, data in extents
    ]
    return Parts(found, [])


INODES = st.fixed_dictionaries(FIELDS)
CHANGES = st.lists(
    # Extents have most ways to differ.
    st.sampled_from([*sorted(FIELDS), *["extents"] * 8]).flatmap(
        lambda name: st.tuples(st.just(name), FIELDS[name])
    ),
    max_size=3,
)


@settings(max_examples=1000)
@given(INODES, CHANGES)
def test_an_inode_is_settled_by_its_items_as_by_its_nodes(inode, changes):
    mine, theirs = parts_of(inode), parts_of({**inode, **dict(changes)})
    left, right = node_of(INODE_NUMBER, mine), node_of(INODE_NUMBER, theirs)
    content, properties = same_content(left, right), same_properties(left, right)
    by_nodes = Unequal()
    by_nodes.add(INODE_NUMBER, node_of(INODE_NUMBER, mine), node_of(INODE_NUMBER, theirs))
    by_items = Unequal()
    if not _add_in_place(by_items, INODE_NUMBER, mine, theirs):
        assert by_items == Unequal()
        return
    assert left.links == right.links
    assert len(left.links) == 1
    assert not by_items.nodes
    if left.is_directory:
        assert properties
        assert by_items.apart == by_nodes.apart
        assert by_items.links == dict.fromkeys(by_items.apart, left.links[0])
    elif content and properties:
        # It may differ in what nobody sees, as in where inline data lies.
        assert by_items == Unequal()
    else:
        assert INODE_NUMBER in by_nodes
        assert by_items.altered == {
            INODE_NUMBER: Settled(
                *left.links[0], INODE_NUMBER, INODE_NUMBER, False, left.size, left.mode,
                left.uid, left.gid, left.mtime, content, properties,
            )
        }  # fmt: skip


NUMBERS = st.integers(0, 2**63 - 1)
LINKS = st.builds(Link, NUMBERS, st.binary(max_size=9))
BYTES = st.lists(st.binary(max_size=9), max_size=2)
NODES = st.builds(
    Node,
    *[NUMBERS] * 10,
    st.lists(LINKS, max_size=2),
    st.lists(st.tuples(st.binary(max_size=4), st.binary(max_size=4)), max_size=2),
    BYTES,
    st.none() | st.binary(max_size=9),
    st.none() | BYTES,
)
ENTRIES = st.dictionaries(
    st.binary(max_size=9),
    st.tuples(st.binary(max_size=9), NUMBERS, st.booleans(), st.booleans()),
    max_size=2,
)
SETTLED = st.builds(
    Settled,
    NUMBERS,
    st.binary(max_size=9),
    *[NUMBERS] * 2,
    st.booleans(),
    *[NUMBERS] * 5,
    st.sampled_from([None, False, True]),
    st.booleans(),
)


@given(
    st.dictionaries(NUMBERS, st.tuples(st.none() | NODES, st.none() | NODES), max_size=3),
    st.lists(SETTLED, max_size=3),
    st.dictionaries(NUMBERS, st.builds(Apart, ENTRIES, ENTRIES), max_size=3),
    st.lists(SETTLED, max_size=3),
    st.dictionaries(NUMBERS, LINKS, max_size=3),
    st.lists(st.tuples(NODES, NODES), max_size=2),
)
def test_what_differs_is_the_same_from_another_process(
    nodes, altered, apart, settled, links, replaced
):
    found = Unequal(nodes, {one.other: one for one in altered}, apart, {}, links, replaced)
    for one in settled:
        found.settle(one)
    again = Unequal.from_plain(marshal.loads(marshal.dumps(found.as_plain())))
    assert again == found
    both = Unequal()
    both.update(found)
    assert both == found
    assert all(type(one) is Settled for one in again.altered.values())
    assert all(number in again for number in (*nodes, *apart, *found.altered))
    assert -1 not in again
