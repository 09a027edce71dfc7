"""The lab itself: filesystems appear, do what is asked, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import btrfs_lab
import btrfsutil
import pytest
from btrfs_lab import Lab

pytestmark = pytest.mark.btrfs


def traces(lab: Lab) -> list[str]:
    mounts = Path("/proc/self/mountinfo").read_text()
    loops = subprocess.run(["losetup", "-a"], capture_output=True, text=True, check=True).stdout
    name = os.fsdecode(lab.directory)
    return [
        what
        for what, found in (
            ("mount", name in mounts),
            ("loop device", name in loops),
            ("directory", os.path.exists(name)),
        )
        if found
    ]


def test_lab_is_a_mounted_btrfs_and_leaves_nothing_behind() -> None:
    with Lab() as lab:
        assert btrfsutil.is_subvolume(lab.top)
        assert traces(lab) == ["mount", "loop device", "directory"]
    assert traces(lab) == []


def test_lab_is_removed_when_the_test_in_it_fails() -> None:
    with pytest.raises(KeyboardInterrupt), Lab() as lab:
        raise KeyboardInterrupt
    assert traces(lab) == []


def test_failing_mkfs_says_why_and_leaves_nothing_behind() -> None:
    lab = Lab("--nodesize", "12345")
    with pytest.raises(RuntimeError, match=r"mkfs\.btrfs: .*12345"):
        lab.__enter__()
    assert traces(lab) == []


def test_a_descriptor_left_open_is_an_error_and_still_nothing_is_left() -> None:
    with pytest.raises(RuntimeError, match="still in use"), Lab() as lab:
        fd = os.open(lab.top, os.O_RDONLY)
    os.close(fd)
    assert traces(lab) == []


def test_lab_of_a_killed_process_is_cleared_by_the_next_run() -> None:
    code = "import sys, os; from btrfs_lab import Lab; lab = Lab().__enter__(); print(lab.directory.decode(), flush=True); sys.stdin.read()"
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parent,
        text=True,
    )
    assert child.stdout is not None
    directory = child.stdout.readline().strip()
    assert os.path.ismount(directory + "/top")
    assert os.path.basename(directory) not in btrfs_lab.remove_stale()
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert os.path.basename(directory) in btrfs_lab.remove_stale()
    assert not os.path.exists(directory)
    assert directory not in Path("/proc/self/mountinfo").read_text()


def test_subvolumes_are_made_snapshotted_and_deleted_with_what_is_nested(lab: Lab) -> None:
    root = lab.create("snapshots/root")
    lab.create("snapshots/root/nested")
    lab.snapshot("snapshots/root", "snapshots/root/nested/frozen", readonly=True)
    assert lab.subvolumes() == [
        b"snapshots/root",
        b"snapshots/root/nested",
        b"snapshots/root/nested/frozen",
    ]
    assert root == lab.path("snapshots/root")
    lab.delete("snapshots/root")
    assert lab.subvolumes() == []


def test_remount_keeps_the_data_and_the_other_mounts(lab: Lab, tmp_path: Path) -> None:
    root = lab.create("root")
    Path(os.fsdecode(root), "file").write_text("kept")
    at = lab.mount_subvolume("root", tmp_path / "root")
    lab.remount("noatime")
    assert (tmp_path / "root/file").read_text() == "kept"
    assert Path(os.fsdecode(root), "file").read_text() == "kept"
    lab.unmount(at)
    assert not os.path.ismount(at)


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (("-n", "4096"), ""),
        (("-n", "65536"), ""),
        (("--mixed",), ""),
        ((), "compress=zstd"),
        ((), "nodatacow"),
    ],
    ids=["4K nodes", "64K nodes", "mixed", "zstd", "nodatacow"],
)
def test_lab_takes_every_kind_of_filesystem(make: tuple[str, ...], options: str) -> None:
    with Lab(*make, options=options) as lab:
        root = lab.create("root")
        Path(os.fsdecode(root), "file").write_bytes(b"x" * 300_000)
        lab.sync()
        lab.remount()
        assert Path(os.fsdecode(root), "file").read_bytes() == b"x" * 300_000


def test_a_lab_costs_less_than_a_third_of_a_second() -> None:
    quickest = min(_seconds_of_a_lab() for _ in range(3))
    assert quickest < 0.3


def _seconds_of_a_lab() -> float:
    start = time.perf_counter()
    with Lab():
        return time.perf_counter() - start
