"""What the machine does to drift while it reads: a disk that fails, a root that goes away.

Whatever happens, the outcome is a list that says what is missing from it and exit code 4, or a
sentence and exit code 3. What is said without a word of doubt is exact.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import btrfs_lab
import fault_disk
import oracle
import pytest
from fault_disk import EVERYTHING, FaultDisk

from drift.btrfs.subvolumes import subvolume_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fault_disk import Range

PROJECT = Path(__file__).parents[1]
ENGINES = ("auto", "metadata", "walk")
# Of the same size in both trees and written anew, so that only reading tells whether it changed.
CONTENT = b"/etc/ssh/ssh_host_ed25519_key"
NODE = 4096
MADE = ("-m", "single", "--nodesize", str(NODE))

pytestmark = pytest.mark.btrfs

Outcome = tuple[int, str, str]


class Fragile:
    """A live root mounted at `live`, its blank and a store, on a disk that can fail."""

    def __init__(self, lab: btrfs_lab.Lab, disk: FaultDisk) -> None:
        self.lab = lab
        self.disk = disk
        same = os.urandom(1 << 18)
        self.contents = {"root-blank": b"blank" + same, "root": b"root." + same}
        blank = lab.create("root-blank")
        write(blank + CONTENT, self.contents["root-blank"])
        for number in range(200):
            write(blank + b"/etc/old-%03d" % number, b"%d" % number * 40)
        write(blank + b"/gone", b"")
        os.mkdir(blank + b"/persist")
        lab.snapshot("root-blank", "root")
        self.live = lab.mount_subvolume("root", lab.directory + b"/live")
        write(self.live + CONTENT, self.contents["root"])
        write(self.live + b"/etc/new", b"new")
        write(self.live + b"/var/lib/state/new", b"state")
        os.unlink(self.live + b"/gone")
        for number in range(0, 200, 10):
            os.chmod(self.live + b"/etc/old-%03d" % number, 0o600)
        lab.create("persist")
        self.store = lab.mount_subvolume("persist", self.live + b"/persist")
        self.rows = [
            (row.status, row.path)
            for row in oracle.expected(lab.path("root"), lab.path("root-blank"))
        ]
        # Nothing that was just written is still in memory, and the disk is asked for all of it.
        lab.remount()

    def content(self, name: str = "root") -> list[Range]:
        """Where a subvolume's file lies on the disk."""
        content = self.contents[name]
        at = self.image().find(content[:4096])
        assert at > 0
        return [(at, len(content))]

    def drop_from_memory(self, name: str) -> None:
        """Have a subvolume's file read from the disk once more."""
        fd = os.open(self.lab.path(name) + CONTENT, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)

    def leaves(self, name: str) -> list[Range]:
        """Where the leaves of a subvolume's own tree lie, present and past."""
        tree = subvolume_id(self.lab.path(name))
        image = self.image()
        found = []
        fsid = image[0x10020:0x10030]
        at = image.find(fsid, 0x20000)
        while at >= 0:
            start = at - 32
            owner = int.from_bytes(image[start + 88 : start + 96], "little")
            if start % 4096 == 0 and owner == tree and image[start + 100] == 0:
                found.append((start, NODE))
            at = image.find(fsid, at + 1)
        assert found
        return found

    def image(self) -> bytes:
        # The filesystem lies at its beginning.
        with open(self.lab.directory + b"/image", "rb") as image:
            return image.read(64 << 20)

    def drift(self, *arguments: str, **how: Any) -> Outcome:
        with self.running(*arguments, **how) as run:
            return finished(run)

    @contextmanager
    def running(self, *arguments: str, **how: Any) -> Iterator[subprocess.Popen[bytes]]:
        command, *options = arguments
        run = subprocess.Popen(
            [sys.executable, "-m", "drift", command, "--live", self.live, *options],
            cwd=PROJECT,
            env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "LANG": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **how,
        )
        try:
            yield run
        finally:
            if run.poll() is None:
                self.disk.heal()
                run.kill()
            run.communicate()


def finished(run: subprocess.Popen[bytes]) -> Outcome:
    out, error = run.communicate(timeout=60)
    assert b"Traceback" not in error
    assert b"internal error" not in error
    return run.returncode, out.decode(), error.decode()


def write(path: bytes, content: bytes) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)


def saved(fragile: Fragile) -> list[bytes]:
    """The files in the store."""
    return sorted(
        os.path.join(directory, name)[len(fragile.store) :]
        for directory, _, names in os.walk(fragile.store)
        for name in names
        if not name.endswith(b".json")
    )


def skipped_in(error: str) -> list[bytes]:
    first, *lines = error.splitlines()
    assert first.endswith("could not be read:")
    return [os.fsencode(line.strip().rpartition(": ")[0]) for line in lines]


def is_below(path: bytes, directories: list[bytes]) -> bool:
    return any((path + b"/").startswith(directory + b"/") for directory in directories)


def told(out: str) -> list[tuple[str, bytes]]:
    return [(line[0], os.fsencode(line[2:])) for line in out.splitlines()]


@pytest.fixture
def fragile() -> Iterator[Fragile]:
    if why := fault_disk.missing():
        # In CI nothing may be skipped.
        (pytest.fail if os.environ.get("CI") else pytest.skip)(why)
    with FaultDisk() as disk, btrfs_lab.Lab(*MADE, through=disk, size=256 << 20) as lab:
        yield Fragile(lab, disk)


UNREADABLE = f"""\
drift: 1 path could not be read:
  {os.fsdecode(CONTENT)}: the disk gave an error when reading it
"""
DAMAGED = """\
drift: the filesystem's metadata can't be read: Input/output error
hint: the kernel log (dmesg) names the device; btrfs scrub finds what is damaged
"""
NO_STORE = """\
drift: there is no persistent storage at /persist
hint: mount it, or say where it is with --persist PATH
"""
REFUSED = "drift: the persistent storage /persist can't be written to: "
REFUSED_HINT = "hint: look how it is mounted, and how much room it has left\n"
READ_ONLY = """\
drift: the live root's filesystem is mounted read-only, so no snapshot can be taken
hint: read the live root itself with --no-snapshot
"""
DELETED = """\
drift: the subvolume root-blank was deleted while drift was reading it
hint: run drift again once nothing deletes subvolumes
"""


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("side", ["root", "root-blank"])
def test_a_disk_that_fails_under_a_file(fragile: Fragile, engine: str, side: str) -> None:
    fragile.disk.fail(fragile.content(side))
    code, out, error = fragile.drift("diff", "--engine", engine)
    # What can't be compared counts as changed.
    assert (code, told(out), error) == (4, fragile.rows, UNREADABLE)
    code, out, _ = fragile.drift("scan", "--engine", engine, "--json")
    report = json.loads(out)
    reason = "the disk gave an error when reading it"
    assert report["skipped"] == [{"path": os.fsdecode(CONTENT), "reason": reason}]
    assert (code, report["counts"]["changed"]) == (4, len(fragile.rows))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("side", ["root", "root-blank"])
def test_a_disk_that_fails_under_metadata(fragile: Fragile, engine: str, side: str) -> None:
    fragile.disk.fail(fragile.leaves(side))
    code, out, error = fragile.drift("diff", "--engine", engine)
    if engine != "walk":
        assert (code, out, error) == (3, "", DAMAGED)
        assert fragile.drift("scan", "--engine", engine) == (3, "", DAMAGED)
        return
    skipped = skipped_in(error)
    assert code == 4
    assert told(out) == [row for row in fragile.rows if not is_below(row[1], skipped)]
    assert told(out) != fragile.rows
    code, out, _ = fragile.drift("scan", "--engine", engine, "--json")
    assert code == 4
    assert set(skipped) <= {os.fsencode(item["path"]) for item in json.loads(out)["skipped"]}


def test_what_the_disk_fails_under_is_not_saved(fragile: Fragile) -> None:
    write(fragile.live + b"/etc/machine-id", b"4ae0")
    fragile.disk.fail(fragile.content())
    code, out, error = fragile.drift("save", "--yes")
    assert out.endswith(
        "/persist: 1 entry copied and verified\n"
        "/persist: 1 entry not saved\n"
        f"  {os.fsdecode(CONTENT)}\n"
        "      the disk gave an error\n"
    )
    assert (code, error.endswith(UNREADABLE)) == (4, True)
    assert saved(fragile) == [b"/etc/machine-id"]


def test_nothing_is_saved_where_the_disk_fails_under_metadata(fragile: Fragile) -> None:
    fragile.disk.fail(fragile.leaves("root"))
    assert fragile.drift("save", "--yes") == (3, "", DAMAGED)
    assert saved(fragile) == []


def unmount_lazily(fragile: Fragile) -> None:
    subprocess.run(["umount", "--lazy", fragile.live], check=True)
    fragile.lab.forget(fragile.live, fragile.store)


def unmount(fragile: Fragile) -> None:
    fragile.lab.unmount(fragile.store)
    done = subprocess.run(["umount", fragile.live], capture_output=True, check=False)
    assert b"busy" in done.stderr


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("leave", [unmount, unmount_lazily])
def test_a_live_root_that_is_unmounted_midway(
    fragile: Fragile, engine: str, leave: Callable[[Fragile], None]
) -> None:
    fragile.disk.hold(fragile.content())
    with fragile.running("diff", "--engine", engine) as run:
        fragile.disk.held()
        leave(fragile)
        fragile.disk.release()
        code, out, error = finished(run)
    assert (code, told(out), error) == (0, fragile.rows, "")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_scan_whose_live_root_is_unmounted_midway(fragile: Fragile, engine: str) -> None:
    def scan() -> list[object]:
        code, out, error = finished(run)
        report = json.loads(out)
        return [code, error, report["counts"], report["groups"], report["skipped"]]

    command = ("scan", "--engine", engine, "--json")
    with fragile.running(*command) as run:
        before = scan()
    fragile.drop_from_memory("root")
    fragile.disk.hold(fragile.content())
    with fragile.running(*command) as run:
        fragile.disk.held()
        unmount_lazily(fragile)
        fragile.disk.release()
        assert scan() == before


def test_a_save_whose_live_root_is_unmounted_midway(fragile: Fragile) -> None:
    fragile.disk.hold(fragile.content())
    with fragile.running("save", "--yes") as run:
        fragile.disk.held()
        unmount_lazily(fragile)
        fragile.disk.release()
        assert finished(run) == (3, "", NO_STORE)
    assert os.listdir(fragile.lab.path("persist")) == []


@pytest.mark.parametrize("engine", ENGINES)
def test_a_disk_that_is_pulled_out_midway(fragile: Fragile, engine: str) -> None:
    """What was read before is exact, the rest is said to be missing."""
    fragile.disk.hold(fragile.content())
    with fragile.running("diff", "--engine", engine) as run:
        fragile.disk.held()
        fragile.disk.fail([EVERYTHING])
        fragile.disk.release()
        code, out, error = finished(run)
    assert (code, told(out), error) == (4, fragile.rows, UNREADABLE)


@pytest.mark.parametrize("engine", ["auto", "metadata"])
def test_a_disk_that_is_pulled_out_while_metadata_is_read(fragile: Fragile, engine: str) -> None:
    fragile.disk.hold(fragile.leaves("root-blank"))
    with fragile.running("diff", "--engine", engine) as run:
        fragile.disk.held()
        fragile.disk.fail([EVERYTHING])
        fragile.disk.release()
        assert finished(run) == (3, "", DAMAGED)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("where", ["content", "metadata"])
def test_a_blank_that_is_deleted_midway(fragile: Fragile, engine: str, where: str) -> None:
    """The kernel gives a deleted tree as an empty one: all of the live root would be new."""
    fragile.disk.hold(fragile.content() if where == "content" else fragile.leaves("root-blank"))
    with fragile.running("diff", "--engine", engine, "--blank", "root-blank") as run:
        fragile.disk.held()
        fragile.lab.delete("root-blank")
        fragile.disk.release()
        code, out, error = finished(run)
    if engine != "walk":
        assert (code, out, error) == (3, "", DELETED)
        return
    skipped = skipped_in(error)
    certain = [row for row in told(out) if not is_below(row[1], skipped)]
    assert (code, certain) == (4, [row for row in fragile.rows if not is_below(row[1], skipped)])


class TestSaving:
    """What `drift save` says of a machine at its limits; `diff` and `scan` are in test_cli.py."""

    def test_few_open_files(self, fragile: Fragile) -> None:
        deep = b"/var/lib/nixos" + b"/d" * 100
        write(fragile.live + deep + b"/file", b"deep")
        code, out, _ = fragile.drift("save", "--yes", preexec_fn=few_files)
        assert out.endswith(
            "/persist: 1 entry copied and verified\n"
            "/persist: 1 entry not saved\n"
            "  /var/lib/nixos\n"
            "      it is nested too deep for the number of files that may be open\n"
        )
        assert (code, saved(fragile)) == (4, [CONTENT])
        assert fragile.drift("save", "--yes")[0] == 0
        assert saved(fragile) == [CONTENT, deep + b"/file"]

    def test_a_store_that_is_full(self, fragile: Fragile) -> None:
        fragile.lab.btrfs("quota", "enable", fragile.lab.top)
        fragile.lab.btrfs("qgroup", "limit", "4K", fragile.lab.path("persist"))
        code, out, error = fragile.drift("save", "--yes")
        assert (code, error) == (3, REFUSED + "disk quota exceeded\n" + REFUSED_HINT)
        assert "copied" not in out
        assert saved(fragile) == []

    def test_a_read_only_filesystem(self, fragile: Fragile) -> None:
        lab = fragile.lab
        lab.unmount(fragile.store)
        lab.unmount(fragile.live)
        lab.remount("ro")
        lab.mount_subvolume("root", fragile.live, "ro")
        lab.mount_subvolume("persist", fragile.store, "ro")
        assert fragile.drift("save", "--yes") == (3, "", READ_ONLY)
        # Without a snapshot it is the store that can't be written to.
        refused = REFUSED + "read-only file system\n" + REFUSED_HINT
        assert fragile.drift("save", "--yes", "--no-snapshot") == (3, "", refused)
        assert saved(fragile) == []


def few_files() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
