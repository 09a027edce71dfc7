"""Snapshots of the live root that lie in it: listed by diff, one entry each for a sum."""

from __future__ import annotations

import os

import pytest

from drift.compare import differences
from drift.diff.stream import Block, Subtree
from drift.locate import locate
from drift.model import Change, Kind

pytestmark = pytest.mark.btrfs


def told(live, blank, whole):
    located = locate(live, blank, explicit_live=True)
    try:
        with differences(located, [], whole=whole) as stream:
            return list(stream)
    finally:
        located.close()


def test_snapshots_of_itself_are_one_entry_each_with_their_origin(lab):
    root = lab.create(b"root")
    lab.snapshot(b"root", b"root-blank", readonly=True)
    os.mkdir(root + b"/data")
    for number in range(5):
        (fd := os.open(root + b"/data/%d" % number, os.O_CREAT | os.O_WRONLY), os.close(fd))
    os.mkdir(root + b"/.snapshots")
    for number in range(3):
        lab.snapshot(b"root", b"root/.snapshots/%d" % number, readonly=True)
    lab.create(b"root/.snapshots/own")
    os.mkdir(root + b"/.snapshots/own/sub")
    summed = told(root, lab.path(b"root-blank"), lambda _: False)
    nested = {
        item.path: item.target
        for item in summed
        if isinstance(item, Change) and item.kind is Kind.SUBVOLUME
    }
    assert nested == {
        b"/.snapshots/0": b"root",
        b"/.snapshots/1": b"root",
        b"/.snapshots/2": b"root",
        b"/.snapshots/own": None,
    }
    inside = [item.path for item in summed if isinstance(item, Change)]
    assert b"/.snapshots/own/sub" in inside
    assert not any(path.startswith(b"/.snapshots/0/") for path in inside)
    whole = told(root, lab.path(b"root-blank"), None)
    paths = {
        path
        for item in whole
        for path in (
            [change.path for change in item.changes()] if isinstance(item, Block) else [item.path]
        )
    }
    assert b"/.snapshots/2/data/4" in paths
    assert not any(isinstance(item, Subtree) for item in whole)
