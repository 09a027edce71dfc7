"""The list of subvolumes, beside btrfsutil's, and where btrfsutil has none to give."""

from __future__ import annotations

import contextlib
import os
import struct

import btrfsutil
import pytest
from engines import diff
from hypothesis import given
from hypothesis import strategies as st
from syscalls import opened, reachable

from drift.btrfs.items import Link, MalformedItemError, root_backref
from drift.btrfs.roots import list_subvolumes
from drift.model import Status

NAME = b"n" * 250


def of_btrfsutil(fd):
    return {
        info.id: (
            os.fsencode(path), info.parent_id, info.dir_id, info.uuid, info.parent_uuid,
            info.generation, info.otransid, int(info.otime), bool(info.flags & 1),
        )
        for path, info in [
            ("", btrfsutil.subvolume_info(fd, 5)),
            *btrfsutil.SubvolumeIterator(fd, 5, info=True),
        ]
    }  # fmt: skip


def of_drift(fd):
    return {
        one.id: (
            one.path, one.parent_id, one.directory, one.uuid, one.parent_uuid,
            one.generation, one.otransid, int(one.otime), one.read_only,
        )
        for one in list_subvolumes(fd).values()
    }  # fmt: skip


def deep_directory(root, levels):
    """Make directories one in another; the path of the last one, from `root`."""
    path = b""
    for _ in range(levels):
        path += b"/" + NAME
        with reachable(root, path) as short:
            os.mkdir(short)
    return path


@pytest.mark.btrfs
def test_subvolumes_are_those_of_btrfsutil(lab):
    lab.create(b"root")
    lab.create(b"root/var/lib/machines")
    lab.create(b"root/var/lib/machines/in\nside/\xff")
    lab.snapshot(b"root", b"snapshots/1", readonly=True)
    lab.snapshot(b"snapshots/1", b"root/back")
    for name in (b"short", b"gone", b"gone/nested"):
        lab.create(name)
    lab.delete(b"gone")
    # Of the top level itself, and of a directory deep in a subvolume that is renamed with it.
    os.rename(lab.path(b"root/var"), lab.path(b"root/moved"))
    os.rename(lab.path(b"short"), lab.path(b"root/moved/lib/longer"))
    lab.sync()
    for place in (lab.top, lab.path(b"root/moved/lib")):
        with opened(place) as fd:
            assert of_drift(fd) == of_btrfsutil(fd)
            assert len(of_drift(fd)) == 7


@pytest.mark.btrfs
def test_subvolume_below_a_path_of_over_4096_bytes_is_listed(lab):
    root = lab.create(b"root")
    path = deep_directory(root, 20)
    for name in (b"/one", b"/one/two"):
        with reachable(root, path + name) as short:
            btrfsutil.create_subvolume(short)
    lab.sync()
    with opened(lab.top) as fd:
        found = {one.path for one in list_subvolumes(fd).values()}
        # It is this that drift can't build on.
        with pytest.raises(btrfsutil.BtrfsUtilError):
            of_btrfsutil(fd)
    assert found == {b"", b"root", b"root" + path + b"/one", b"root" + path + b"/one/two"}


@pytest.mark.btrfs
@pytest.mark.parametrize("engine", ["generation", "metadata", "walk"])
def test_diff_reads_a_subvolume_below_a_path_of_over_4096_bytes(lab, engine):
    root = lab.create(b"root")
    path = deep_directory(root, 20)
    blank = lab.snapshot(b"root", b"root-blank", readonly=True)
    with reachable(root, path + b"/one") as short:
        btrfsutil.create_subvolume(short)
    with reachable(root, path + b"/one/file") as short, open(short, "wb") as file:
        file.write(b"new")
    lab.sync()
    changes = diff(root, blank, engine)
    assert [(change.status, change.path) for change in changes] == [
        (Status.ADDED, path + name) for name in (b"/one", b"/one/file")
    ]


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.binary(max_size=300))
def test_root_backref_gives_back_its_place(directory, sequence, name):
    payload = struct.pack("<QQH", directory, sequence, len(name)) + name
    assert root_backref(payload) == Link(directory, name)


@given(st.binary(max_size=64))
def test_any_payload_is_a_place_or_damage(payload):
    with contextlib.suppress(MalformedItemError):
        assert isinstance(root_backref(payload), Link)
