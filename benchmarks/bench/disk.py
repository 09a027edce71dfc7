"""A Btrfs filesystem on a loop device that nothing can leave behind, and its cold start.

The image has no name, the loop device detaches itself when its last user closes it, and the mount
lives in a mount namespace of this process: even a kill frees all of it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

LOOP_CTL_GET_FREE = 0x4C82
LOOP_CONFIGURE = 0x4C0A
LO_FLAGS_AUTOCLEAR = 4
LO_FLAGS_DIRECT_IO = 16
# struct loop_config of linux/loop.h: descriptor, block size, then within loop_info64 the flags.
LOOP_CONFIG = struct.Struct("<II52xI176x64x")
LOOP_MAJOR = 7

PRIVATE = "DRIFT_BENCHMARK_IS_PRIVATE"
# Reading must not write: under relatime the first tool to list a directory would rewrite it.
OPTIONS = "noatime,subvolid=5"


def enter_private_mounts() -> None:
    """Start this program again in a mount namespace of its own, unless it is in one."""
    if os.environ.get(PRIVATE) != str(os.getppid()) and PRIVATE not in os.environ:
        os.environ[PRIVATE] = "1"
        os.execvp("unshare", ["unshare", "--mount", "--", sys.executable, *sys.argv])


class Disk:
    """An empty filesystem of at most `size` bytes whose image lies in `directory`.

    `top` is where its top level is mounted, `scratch` a directory in memory for everything that
    must be neither on it nor measured.
    """

    def __init__(self, directory: Path, size: int) -> None:
        self.directory = directory
        self.size = size
        self.device = ""
        self.scratch = Path()
        self.top = Path()
        self._resources = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            point = Path(tempfile.mkdtemp(prefix="drift-benchmark-"))
            stack.callback(shutil.rmtree, point, ignore_errors=True)
            command("mount", "-t", "tmpfs", "-o", "size=4g", "tmpfs", point)
            stack.callback(_unmount, point)
            self.scratch, self.top = point / "scratch", point / "top"
            self.scratch.mkdir()
            self.top.mkdir()
            image = os.open(self.directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
            try:
                os.truncate(image, self.size)
                self.device, loop = _attach(image)
            finally:
                os.close(image)
            stack.callback(os.close, loop)
            command("mkfs.btrfs", "-f", "-q", "-K", "-m", "single", self.device)
            self._mount()
            stack.callback(_unmount, self.top)
            self._resources = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def cool(self) -> None:
        """Forget everything that was read: unmount, drop the caches, mount again."""
        os.sync()
        _unmount(self.top)
        Path("/proc/sys/vm/drop_caches").write_text("3\n")
        self._mount()

    def subvolume(self, name: str, *, of: str = "", readonly: bool = False) -> Path:
        """Make the subvolume `name`, empty or as a snapshot of the subvolume `of`."""
        path = self.top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if of:
            flags = ["-r"] if readonly else []
            command("btrfs", "subvolume", "snapshot", *flags, self.top / of, path)
        else:
            command("btrfs", "subvolume", "create", path)
        return path

    def freeze(self, name: str) -> None:
        command("btrfs", "property", "set", self.top / name, "ro", "true")

    def sync(self) -> None:
        command("btrfs", "filesystem", "sync", self.top)

    def _mount(self) -> None:
        command("mount", "-t", "btrfs", "-o", OPTIONS, self.device, self.top)


def hide_rules_cache() -> None:
    """Give drift an empty cache of compiled rules that no other drift of the machine writes to."""
    cache = Path("/run/drift")
    cache.mkdir(mode=0o700, exist_ok=True)
    command("mount", "-t", "tmpfs", "-o", "mode=0700", "tmpfs", cache)


def storage(directory: Path) -> str:
    """The type of the filesystem that holds `directory`."""
    return command("findmnt", "-n", "-o", "FSTYPE", "-T", directory).strip()


def command(*argv: str | Path) -> str:
    """Run a program and return what it printed; a failure raises with what it said."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{argv[0]}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def _attach(image: int) -> tuple[str, int]:
    """Attach a loop device to `image`; return its name and the descriptor that keeps it."""
    config = LOOP_CONFIG.pack(image, 0, LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO)
    with open("/dev/loop-control", "rb") as control:
        while True:
            free = fcntl.ioctl(control, LOOP_CTL_GET_FREE)
            device = f"/dev/loop{free}"
            with suppress(FileExistsError):
                os.mknod(device, 0o660 | 0o060000, os.makedev(LOOP_MAJOR, free))
            loop = os.open(device, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(loop, LOOP_CONFIGURE, config)
            except OSError as error:
                os.close(loop)
                # Somebody else was quicker.
                if error.errno != errno.EBUSY:
                    raise
            else:
                return device, loop


def _unmount(point: Path) -> None:
    # A process that has just ended may still be letting go of its files.
    for _ in range(50):
        try:
            command("umount", point)
        except RuntimeError:
            time.sleep(0.1)
        else:
            return
    # What is left ends with this process: the mounts are its own.
    with suppress(RuntimeError):
        command("umount", "--lazy", point)
