"""What was written in place is told apart from what was replaced by rename()."""

from __future__ import annotations

import os
import subprocess

import engines
import pytest

from drift.pipeline import Request, scan

pytestmark = pytest.mark.btrfs

STATES = (b"in-place", b"replaced", b"replaced-by-the-same", b"chmod-in-the-replacement")


def write(path, content):
    with open(path, "wb") as file:
        file.write(content)


def replace(path, content, mode=0o644):
    write(path + b".new", content)
    os.chmod(path + b".new", mode)
    os.replace(path + b".new", path)


def change_all(directory):
    """Give each of the files another content, or the same anew."""
    write(directory + b"/in-place", b"changed")
    replace(directory + b"/replaced", b"changed")
    replace(directory + b"/replaced-by-the-same", b"as it was")
    replace(directory + b"/chmod-in-the-replacement", b"as it was", 0o600)


def make(directory):
    os.mkdir(directory)
    for name in STATES:
        write(directory + b"/" + name, b"as it was")
        os.chmod(directory + b"/" + name, 0o644)


def said(lab, live, blank):
    changes = engines.diff(lab.path(live), lab.path(blank))
    return {
        os.path.basename(one.path): (one.status.value, one.replaced)
        for one in changes
        if one.kind == "file"
    }


EXPECTED = {
    b"in-place": ("M", False),
    b"replaced": ("M", True),
    b"chmod-in-the-replacement": ("P", True),
}


def test_a_snapshot_of_the_blank_shows_what_was_replaced(lab):
    make(lab.create("blank") + b"/state")
    change_all(lab.snapshot("blank", "live") + b"/state")
    assert said(lab, "live", "blank") == EXPECTED


def test_a_live_root_that_the_blank_was_taken_of_shows_it_too(lab):
    live = lab.create("live")
    make(live + b"/state")
    lab.snapshot("live", "blank", readonly=True)
    change_all(live + b"/state")
    assert said(lab, "live", "blank") == EXPECTED


def test_inodes_of_unrelated_subvolumes_say_nothing(lab):
    for name in ("blank", "live"):
        make(lab.create(name) + b"/state")
    change_all(lab.path("live") + b"/state")
    assert {replaced for _, replaced in said(lab, "live", "blank").values()} == {False}


def test_what_is_new_replaced_nothing(lab):
    lab.create("blank")
    live = lab.snapshot("blank", "live")
    replace(live + b"/new", b"state")
    assert said(lab, "live", "blank") == {b"new": ("A", False)}


def test_the_scan_hands_it_on_to_the_entry(lab, tmp_path):
    blank = lab.create("root-blank")
    os.mkdir(blank + b"/etc")
    write(blank + b"/etc/adjtime", b"0.0\n")
    write(blank + b"/etc/odd", b"a")
    root = lab.snapshot("root-blank", "root")
    replace(root + b"/etc/adjtime", b"0.1 0 0\n")
    write(root + b"/etc/odd", b"b")
    subprocess.run(["sync"], check=True)
    at = lab.mount_subvolume("root", tmp_path / "live")
    found = scan(Request(at, b"root-blank", explicit_live=True), {"HOME": str(tmp_path)})
    entries = {one.path: one.replaced for group in found.report.groups for one in group.entries}
    lab.unmount(at)
    assert {path: entries[path] for path in (b"/etc/adjtime", b"/etc/odd")} == {
        b"/etc/adjtime": True,
        b"/etc/odd": False,
    }
