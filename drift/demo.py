"""The tour: make a small NixOS-like machine, show what drift says about it, remove it."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple

from drift import demo_tree
from drift.errors import DriftError
from drift.system import programs
from drift.system.mounts import read_mounts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SUBVOLUMES = (b"root", b"nix", b"persist", b"home", b"log", b"lib")
MOUNTS = {b"nix": b"/nix", b"persist": b"/persist", b"home": b"/home", b"log": b"/var/log"}
IMAGE_SIZE = 256 << 20  # sparse; mkfs.btrfs wants about half of it

_CLONE_NEWNS = 0x20000  # linux/sched.h


FAREWELL = "\nThe machine is gone again. On your own, start with: sudo drift scan"


class Machine(NamedTuple):
    """The demo's live root and, where drift can't find it by itself, the blank.

    `plain` says why it is two plain directories instead of a Btrfs filesystem, `""` if it isn't.
    """

    live: bytes
    blank: bytes | None
    plain: str


@contextmanager
def machine() -> Iterator[Machine]:
    """The machine for as long as the context lasts: on Btrfs where possible.

    The filesystem lies in memory and is mounted where only this process and its children see
    it, so it is gone with them, also after `kill -9`.
    """
    with ExitStack() as stack:
        try:
            made = stack.enter_context(_btrfs_machine())
        except DriftError as error:
            made = stack.enter_context(_plain_machine(error.message))
        yield made


def run_tour(
    made: Machine, run: Callable[[list[str]], object], echo: Callable[[str], object]
) -> None:
    """Show what drift says about the machine; `run` runs a drift command line."""
    arguments = ["--live", os.fsdecode(made.live)]
    if made.blank is not None:
        arguments += ["--blank", os.fsdecode(made.blank)]

    def show(*command: str) -> None:
        echo("\n$ " + " ".join(["drift", *command, *arguments]) + "\n")
        run([*command, *arguments])

    echo(
        _PLAIN.format(why=made.plain) if made.plain else _BTRFS.format(live=os.fsdecode(made.live))
    )
    show("scan")
    echo(_AFTER_SCAN_PLAIN if made.plain else _AFTER_SCAN)
    show("suggest", "--nix")
    echo(_AFTER_SUGGEST)


_BTRFS = """\
A small NixOS machine, made for this tour: one Btrfs filesystem with the
subvolumes root, root-blank, nix, persist, home, log and lib. At every boot,
root is deleted and made again from root-blank. The others are mounted in it,
all but one: somebody forgot to mount lib on /var/lib. It is shown below {live},
where only this tour sees it."""

_PLAIN = """\
A small NixOS machine, made for this tour from two plain directories, root and
root-blank, since no Btrfs filesystem can be mounted here: {why}.
At every boot, root would be deleted and made again from root-blank."""

_AFTER_SCAN_PLAIN = """
What is under "persist" is known to matter. What is under "review" only its
owner can judge, like /imperm_test/testfile. NixOS makes the regenerated files
again by itself, and caches are no loss."""

_AFTER_SCAN = (
    _AFTER_SCAN_PLAIN
    + """

/home, /nix, /persist and /var/log lie on subvolumes of their own and stay.
/var/lib was meant to, but without its mount it is a part of root and goes with
it. So do the subvolumes nested in root, such as /srv. What root itself holds
below /var/log is out of sight while log is mounted there; drift counts it all
the same."""
)

_AFTER_SUGGEST = """
Saved as a file beside configuration.nix and imported there, this keeps the
state. The commented lines wait for their owner."""


@contextmanager
def _btrfs_machine() -> Iterator[Machine]:
    if os.geteuid() != 0:
        raise DriftError("this is not root")
    with ExitStack() as stack:
        # A file in memory, without a name: nothing to remove, whatever happens.
        image = os.memfd_create("drift-demo")
        stack.callback(os.close, image)
        os.ftruncate(image, IMAGE_SIZE)
        path = f"/proc/{os.getpid()}/fd/{image}"
        programs.check(["mkfs.btrfs", "-q", path])
        _leave_mount_namespace()
        live = stack.enter_context(_mount_point())
        # mount's own loop device goes with the last user of the filesystem.
        programs.check(["mount", "-o", "loop,subvolid=5", path, live])
        stack.callback(programs.run, ["umount", "--recursive", "--lazy", live])
        _make_subvolumes(live)
        device = next(mount.source for mount in read_mounts() if mount.point == live)
        _mount_root(device, live, stack)
        yield Machine(live, None, "")


def _make_subvolumes(top: bytes) -> None:
    """Install the machine, reset its root once as the initrd does, and let it run a while."""
    for name in SUBVOLUMES:
        _create(os.path.join(top, name))
    root, blank = os.path.join(top, b"root"), os.path.join(top, b"root-blank")
    for stub in demo_tree.STUBS:
        os.makedirs(root + stub)
    programs.check(["btrfs", "subvolume", "snapshot", "-r", root, blank])
    programs.check(["btrfs", "subvolume", "delete", root])
    programs.check(["btrfs", "subvolume", "snapshot", blank, root])
    for name, items in (
        (b"root", (*demo_tree.REGENERATED, *demo_tree.STATE, *demo_tree.UNDER_LOG)),
        (b"home", demo_tree.HOME),
        (b"log", demo_tree.LOG),
        (b"persist", demo_tree.PERSIST),
        (b"nix", demo_tree.NIX),
    ):
        demo_tree.build(os.path.join(top, name), items, _create)


def _create(path: bytes) -> None:
    programs.check(["btrfs", "subvolume", "create", path])


def _mount_root(device: bytes, live: bytes, stack: ExitStack) -> None:
    """Put the root where the top level was mounted, and the other subvolumes into it."""
    # Open, the device outlives the moment in which nothing of it is mounted.
    held = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    stack.callback(os.close, held)
    programs.check(["umount", live])
    programs.check(["mount", "-t", "btrfs", "-o", "subvol=root", device, live])
    for name, place in MOUNTS.items():
        options = b"subvol=" + name
        programs.check(["mount", "-t", "btrfs", "-o", options, device, live + place])
    os.mkdir(live + b"/etc/nixos")
    programs.check(["mount", "--bind", live + b"/persist/etc/nixos", live + b"/etc/nixos"])


@contextmanager
def _mount_point() -> Iterator[bytes]:
    """A directory to mount on: one that every system has, else one made for it.

    The first leaves nothing behind even when this process is killed.
    """
    here = (os.getcwdb(), os.fsencode(__file__), os.fsencode(sys.prefix))
    taken = [*here, *(mount.point for mount in read_mounts())]
    for place in (b"/mnt", b"/media"):
        if os.path.isdir(place) and not any(
            (path + b"/").startswith(place + b"/") for path in taken
        ):
            yield place
            return
    with _temporary_directory() as made:
        yield made


def _leave_mount_namespace() -> None:
    """From here on, what this process mounts is seen by it and its children only."""
    import ctypes

    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNS) != 0:
        raise DriftError(f"no mount namespace: {os.strerror(ctypes.get_errno())}")
    programs.check(["mount", "--make-rprivate", "/"])


@contextmanager
def _plain_machine(why: str) -> Iterator[Machine]:
    with _temporary_directory() as made:
        live, blank = made + b"/root", made + b"/root-blank"
        for root in (live, blank):
            for stub in demo_tree.STUBS:
                os.makedirs(root + stub)
        demo_tree.build(live, (*demo_tree.REGENERATED, *demo_tree.STATE), os.mkdir)
        yield Machine(live, blank, why)


@contextmanager
def _temporary_directory() -> Iterator[bytes]:
    """A directory that goes with all it holds; of the same name in every run, if that is free."""
    path = os.path.join(tempfile.gettempdir(), "drift-demo")
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        path = tempfile.mkdtemp(prefix="drift-demo-")
    try:
        yield os.fsencode(path)
    finally:
        shutil.rmtree(path, ignore_errors=True)
