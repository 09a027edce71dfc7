"""Decoding item payloads: known bytes, and bytes that nobody should have written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drift.btrfs import items
from drift.btrfs.items import DirEntry, Link, MalformedItemError


def test_inode_refs_of_one_parent_share_an_item():
    payload = items.INODE_REF_HEAD.pack(2, 1) + b"a" + items.INODE_REF_HEAD.pack(3, 2) + b"bc"
    assert items.inode_refs(257, payload) == [Link(257, b"a"), Link(257, b"bc")]


def test_extended_inode_refs_name_their_parents():
    head = items.INODE_EXTREF_HEAD
    payload = head.pack(300, 2, 1) + b"a" + head.pack(301, 9, 3) + b"\xff\n\0"
    assert items.inode_extrefs(payload) == [Link(300, b"a"), Link(301, b"\xff\n\0")]


@pytest.mark.parametrize(
    ("kind", "is_subvolume"), [(items.INODE_ITEM, False), (items.ROOT_ITEM, True)]
)
@pytest.mark.parametrize(("form", "is_directory"), [(1, False), (items.FT_DIR, True), (7, False)])
def test_a_directory_entry_leads_to_an_inode_or_a_tree(kind, is_subvolume, form, is_directory):
    payload = items.DIR_ITEM_HEAD.pack(500, kind, 0, 7, 0, 4, form) + b"name"
    assert items.dir_index(payload) == DirEntry(b"name", 500, is_subvolume, is_directory)


def test_xattrs_whose_names_collide_share_an_item():
    head = items.DIR_ITEM_HEAD
    payload = head.pack(0, 0, 0, 7, 2, 6, 8) + b"user.a" + b"xy"
    payload += head.pack(0, 0, 0, 7, 0, 6, 8) + b"user.b"
    assert items.xattrs(payload) == [(b"user.a", b"xy"), (b"user.b", b"")]


@pytest.mark.parametrize(
    ("compression", "kind", "expected"), [(0, 0, b"/nix/store/x"), (3, 0, None), (0, 1, None)]
)
def test_only_plain_inline_extents_hold_their_bytes(compression, kind, expected):
    payload = items.FILE_EXTENT_HEAD.pack(9, 12, compression, 0, 0, kind) + b"/nix/store/x"
    assert items.inline_data(payload) == expected


def test_a_mode_without_a_type_is_damage():
    with pytest.raises(MalformedItemError, match="names no type of file"):
        items.kind_of(0o644)


@given(st.binary(max_size=200))
def test_no_payload_raises_anything_but_damage(payload):
    decoders = (
        lambda: items.inode_refs(1, payload),
        lambda: items.inode_extrefs(payload),
        lambda: items.dir_index(payload),
        lambda: items.xattrs(payload),
        lambda: items.inline_data(payload),
    )
    for decode in decoders:
        try:
            decode()
        except MalformedItemError as error:
            assert "damaged" in error.message  # noqa: PT017


@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), st.binary(min_size=1, max_size=255))))
def test_extended_refs_come_back_as_written(links):
    payload = b"".join(
        items.INODE_EXTREF_HEAD.pack(parent, 5, len(name)) + name for parent, name in links
    )
    assert items.inode_extrefs(payload) == [Link(*link) for link in links]
