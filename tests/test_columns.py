"""What the reading of columns takes for granted about the bytes of a tree."""

from struct import Struct

from hypothesis import example, given
from hypothesis import strategies as st

from drift.btrfs.columns import INODE_HEADER, INODE_HEADER_OFFSET, MOST_INODES
from drift.btrfs.ioctl import HEADER
from drift.btrfs.items import (
    DIR_INDEX,
    DIR_ITEM,
    DIR_ITEM_HEAD,
    INODE_ITEM,
    ROOT_ITEM,
)
from drift.btrfs.trees import INODE_ITEM_SIZE

# Numbers with the bytes of the header in every place come more often than chance would have it.
numbers = st.one_of(
    st.integers(0, MOST_INODES - 1),
    st.lists(st.sampled_from([0, 1, 0xA0]), min_size=4, max_size=4).map(
        lambda parts: int.from_bytes(bytes(parts), "little")
    ),
)
names = st.one_of(
    st.binary(min_size=1, max_size=255).map(lambda name: name.replace(b"\0", b"\1")),
    st.lists(st.sampled_from([b"\1", b"\xa0"]), min_size=1, max_size=3).map(b"".join),
)
SUBVOLUME = 2**64 - 1


@st.composite
def entries(draw):
    """One DIR_ITEM or DIR_INDEX as a search returns it."""
    name = draw(names)
    is_subvolume = draw(st.booleans())
    payload = DIR_ITEM_HEAD.pack(
        draw(numbers),
        ROOT_ITEM if is_subvolume else INODE_ITEM,
        SUBVOLUME if is_subvolume else 0,
        draw(numbers),
        0,
        len(name),
        draw(st.integers(1, 8)),
    )
    kind = draw(st.sampled_from([DIR_ITEM, DIR_INDEX]))
    return HEADER.pack(draw(numbers), draw(numbers), draw(numbers), kind, 30 + len(name)) + (
        payload + name
    )


@given(st.lists(entries(), min_size=1, max_size=12), numbers, numbers)
@example([], 1, 0xA0)
def test_among_entries_only_a_true_header_looks_like_one(items, transid, inode):
    before = b"".join(items)
    header = HEADER.pack(transid, inode, 0, INODE_ITEM, INODE_ITEM_SIZE)
    inode_item = Struct("<Q").pack(transid) + bytes(INODE_ITEM_SIZE - 8)
    data = before + header + inode_item
    assert data.find(INODE_HEADER) == len(before) + INODE_HEADER_OFFSET
