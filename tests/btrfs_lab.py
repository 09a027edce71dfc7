"""Real Btrfs filesystems on loop devices, made in a tenth of a second and always removed.

    with Lab() as lab:
        lab.create("root-blank")
        lab.snapshot("root-blank", "root")
        (Path(os.fsdecode(lab.path("root"))) / "new").write_text("state")

A lab's directory is called `drift-lab-*` and its image file is locked as long as its process
lives, so what a killed run leaves behind is known and `remove_stale` clears it.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Self

import btrfsutil
from syscalls import opened, reachable

from drift.btrfs.roots import list_subvolumes

if TYPE_CHECKING:
    from collections.abc import Callable

PREFIX = "drift-lab-"
MEMORY = "/dev/shm"
MIB = 1 << 20

Name = str | bytes | os.PathLike[str]


class Lab:
    """One Btrfs filesystem whose top level is mounted read-write at `top`.

    Names are subvolume paths from the top level (`"root-blank"`, `"snapshots/root-blank"`).
    `device` is the loop device, `directory` a scratch directory outside of the filesystem that
    goes with the lab. `make` are options of mkfs.btrfs (`"-n", "4096"` or `"--mixed"`),
    `options` those of mount (`"compress=zstd"`). `through` gives the file to stand on for the image.
    """

    def __init__(
        self,
        *make: str,
        options: str = "",
        size: int = 512 * MIB,
        through: Callable[[bytes], bytes] = bytes,
    ) -> None:
        self.make = make
        self.options = options
        self.size = size
        self.through = through
        self.device = ""
        self.directory = b""
        self.top = b""
        self._cleanup = ExitStack()
        self._mounts: dict[bytes, bytes] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.directory = os.fsencode(tempfile.mkdtemp(prefix=PREFIX, dir=_storage(self.size)))
            stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
            image = self.directory + b"/image"
            stack.callback(os.close, _locked_image(image, self.size))
            _run("mkfs.btrfs", "-f", "-q", "-K", *self.make, image)
            self.device = _attach(self.through(image))
            stack.callback(_detach, self.device)
            self.top = self.directory + b"/top"
            os.mkdir(self.top)
            _mount(self.device, self.top, "subvolid=5", self.options)
            stack.callback(self._unmount_all)
            self._cleanup = stack.pop_all()
        atexit.register(self._cleanup.close)
        return self

    def __exit__(self, *_: object) -> None:
        atexit.unregister(self._cleanup.close)
        self._cleanup.close()

    def path(self, name: Name = b"") -> bytes:
        return os.path.join(self.top, os.fsencode(name)) if name != b"" else self.top

    def create(self, name: Name) -> bytes:
        """Make an empty subvolume, and plain directories above it; return its path."""
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        btrfsutil.create_subvolume(path)
        return path

    def snapshot(self, source: Name, name: Name, *, readonly: bool = False) -> bytes:
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        btrfsutil.create_snapshot(self.path(source), path, read_only=readonly)
        return path

    def delete(self, *names: Name) -> None:
        """Delete subvolumes and every subvolume nested in them, read-only ones too."""
        for name in map(os.fsencode, names):
            # Those nested in others have longer paths.
            inside = [path for path in self.subvolumes() if path.startswith(name + b"/")]
            doomed = [b"/" + path for path in (*sorted(inside, key=len, reverse=True), name)]
            # Nothing can be deleted out of a read-only parent, so that goes first for all.
            for change in (_make_writable, btrfsutil.delete_subvolume):
                for path in doomed:
                    with reachable(self.top, path) as short:
                        change(short)

    def subvolumes(self) -> list[bytes]:
        """Their paths, which may be deeper than btrfsutil's iterator can look up."""
        with opened(self.top) as fd:
            return sorted(one.path for one in list_subvolumes(fd).values() if one.path)

    def sync(self) -> None:
        btrfsutil.sync(self.top)

    def remount(self, options: str | None = None) -> None:
        """Unmount and mount again, everywhere: free inode numbers are given out anew."""
        if options is not None:
            self.options = options
        mounts = dict(self._mounts)
        self._unmount_all()
        _mount(self.device, self.top, "subvolid=5", self.options)
        for at, name in mounts.items():
            self.mount_subvolume(name, at)

    def mount_subvolume(self, name: Name, at: Name, options: str = "") -> bytes:
        """Mount a subvolume at the directory `at` (made if missing) until the lab ends."""
        at = os.path.abspath(os.fsencode(at))
        os.makedirs(at, exist_ok=True)
        _mount(self.device, at, "subvol=/" + os.fsdecode(name), options)
        self._mounts[at] = os.fsencode(name)
        return at

    def unmount(self, at: Name) -> None:
        at = os.path.abspath(os.fsencode(at))
        del self._mounts[at]
        _run("umount", at)

    def forget(self, *places: bytes) -> None:
        """What was mounted there is unmounted already."""
        for at in places:
            del self._mounts[at]

    def btrfs(self, *arguments: str | bytes) -> str:
        """Run the `btrfs` program; a failure raises with what it said."""
        return _run("btrfs", *arguments)

    def _unmount_all(self) -> None:
        busy = []
        for at in [*reversed(self._mounts), self.top]:
            if _run_quietly("umount", at):
                busy.append(os.fsdecode(at))
                _run_quietly("umount", "--lazy", at)
        self._mounts.clear()
        if busy:
            raise RuntimeError(f"still in use at the end of the lab: {', '.join(busy)}")


def remove_stale() -> list[str]:
    """Unmount, detach and delete the labs of processes that are gone; return their names."""
    removed = []
    for parent in {MEMORY, tempfile.gettempdir()}:
        with suppress(FileNotFoundError):
            for entry in list(os.scandir(parent)):
                if entry.name.startswith(PREFIX) and _is_abandoned(entry.path):
                    _remove_lab(entry.path)
                    removed.append(entry.name)
    return removed


def missing() -> str:
    """Say why no lab can be made here; empty if one can."""
    if os.geteuid() != 0:
        return "needs root"
    if not os.path.exists("/dev/loop-control"):
        return "needs loop devices"
    for program in ("mkfs.btrfs", "btrfs", "losetup", "mount", "umount"):
        if shutil.which(program) is None:
            return f"needs the program {program}"
    try:
        with Lab():
            return ""
    except (OSError, RuntimeError) as error:
        return f"can't make a Btrfs filesystem on a loop device: {error}"


def _storage(size: int) -> str:
    """Memory if all of the image would fit in half of what is free there."""
    with suppress(OSError):
        stat = os.statvfs(MEMORY)
        if stat.f_bavail * stat.f_frsize >= 2 * size:
            return MEMORY
    return tempfile.gettempdir()


def _locked_image(image: bytes, size: int) -> int:
    fd = os.open(image, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.truncate(fd, size)
    return fd


def _attach(image: bytes) -> str:
    """Attach a loop device; where /dev isn't kept by the kernel, make the missing node."""
    for _ in range(20):
        try:
            return _run("losetup", "--find", "--show", image).strip()
        except RuntimeError:
            with open("/dev/loop-control", "rb") as control:
                free = fcntl.ioctl(control, 0x4C82)  # LOOP_CTL_GET_FREE
            with suppress(FileExistsError):
                os.mknod(f"/dev/loop{free}", 0o660 | 0o060000, os.makedev(7, free))
    return _run("losetup", "--find", "--show", image).strip()


def _detach(device: str) -> None:
    _run_quietly("losetup", "--detach", device)


def _mount(device: str, at: bytes, *options: str) -> None:
    _run("mount", "-t", "btrfs", "-o", ",".join(filter(None, options)), device, at)


def _make_writable(path: bytes) -> None:
    if btrfsutil.get_subvolume_read_only(path):
        btrfsutil.set_subvolume_read_only(path, False)


def _is_abandoned(directory: str) -> bool:
    try:
        with open(os.path.join(directory, "image"), "rb") as image:
            fcntl.flock(image, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        # No image: a lab that is just being made, or an empty directory that harms nobody.
        return False
    return True


def _remove_lab(directory: str) -> None:
    with open("/proc/self/mountinfo") as mounts:
        points = [line.split()[4] for line in mounts]
    devices = _run("losetup", "--noheadings", "--output", "NAME", "-j", directory + "/image")
    for point in reversed(points):
        if point.startswith(directory + "/"):
            _run_quietly("umount", "--lazy", point)
    for device in devices.split():
        _detach(device)
    shutil.rmtree(directory, ignore_errors=True)


def _run(*command: str | bytes) -> str:
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise RuntimeError(f"{os.fsdecode(command[0])}: {said}")
    return done.stdout.decode(errors="surrogateescape")


def _run_quietly(*command: str | bytes) -> int:
    return subprocess.run(command, capture_output=True, check=False).returncode


def stop_on_termination() -> None:
    """Let SIGTERM and SIGHUP end a test run like Ctrl-C does, so that labs are removed."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.default_int_handler)
