"""What is mounted where, and what of it outlives the root (mountinfo as in proc(5))."""

from __future__ import annotations

import re
from collections import defaultdict
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from drift.errors import DriftError
from drift.names import shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Mount(NamedTuple):
    """One line of mountinfo.

    `root` is the path inside the filesystem that is mounted, `point` where it is mounted.
    `device` is `major:minor` of the superblock: Btrfs subvolumes of one filesystem share it.
    """

    mount_id: int
    parent_id: int
    device: str
    root: bytes
    point: bytes
    fstype: str
    source: bytes
    options: str
    super_options: str

    @property
    def subvolume(self) -> bytes | None:
        """Path from the top level of the Btrfs subvolume that `root` lies in (`b"/home"`)."""
        if self.fstype != "btrfs":
            return None
        found = _SUBVOLUME.search(self.super_options)
        if found is None:
            return None
        return _unescape(found["path"].encode(errors="surrogateescape"))

    @property
    def whole(self) -> bool:
        """Whether a whole filesystem or subvolume is mounted, not a part of it."""
        return self.root == (self.subvolume or b"/")


class Survival(StrEnum):
    """What the next reset of the root does to what a mount shows."""

    KEPT = "kept"
    # In memory, or made by the kernel: it never was the root's.
    VOLATILE = "volatile"
    # A part of the root itself, or a subvolume nested in it: it goes with the root.
    SAME_ROOT = "same root"


class MountPoint(NamedTuple):
    """A mount as the live system sees it: `path` is rooted at the live root.

    `origin` is where else the live system sees the same content (a bind mount's source).
    """

    path: bytes
    mount: Mount
    survival: Survival
    describe: str
    origin: bytes | None = None

    @property
    def survives(self) -> bool:
        return self.survival is Survival.KEPT


def read_mounts(path: str = "/proc/self/mountinfo") -> list[Mount]:
    try:
        with open(path, "rb") as file:
            return parse_mountinfo(file.read())
    except OSError as error:
        raise DriftError(
            f"The mount table {path} can't be read: {error.strerror}", "is /proc mounted?"
        ) from error


def parse_mountinfo(text: bytes) -> list[Mount]:
    """Mounts in the kernel's order; a line of another form is left out."""
    return [mount for line in text.split(b"\n") if (mount := _parse_line(line)) is not None]


def mount_of(mounts: Sequence[Mount], path: bytes) -> Mount:
    """The mount that shows `path` (absolute, free of symlinks): a mount that another covers shows nothing."""
    return _Table(mounts).mount_of(path)


def path_inside(mount: Mount, path: bytes) -> bytes:
    """Where `path` below the mount's point lies inside its filesystem."""
    return join(mount.root, relative(path, mount.point))


def mounts_below(mounts: Sequence[Mount], live: bytes) -> list[MountPoint]:
    """Every visible mount point strictly below the live root mounted at `live`, sorted by path."""
    table = _Table(mounts)
    try:
        root = table.mount_of(live)
    except DriftError:
        # In a chroot the mount that shows it may be out of sight; then those below it are as well.
        return []
    visible = [
        mount
        for mount in mounts
        if mount.point != live and within(mount.point, live) and table.shows(mount)
    ]
    survey = _Survey(table, live, root, path_inside(root, live), visible)
    return sorted((survey.judge(mount) for mount in visible), key=lambda point: point.path)


def open_top_level(device: bytes, *, namespace: bool = False) -> int:
    """A directory descriptor of a private, read-only mount; see private_mount.open_top_level."""
    # It loads ctypes, which most commands get by without.
    from drift.system import private_mount

    return private_mount.open_top_level(device, namespace=namespace)


def within(path: bytes, directory: bytes) -> bool:
    """Whether `path` is `directory` or lies below it."""
    return directory == b"/" or path == directory or path.startswith(directory + b"/")


def relative(path: bytes, directory: bytes) -> bytes:
    """`path` as seen with `directory` as its root: `b"/"` for the directory itself."""
    return path if directory == b"/" else path[len(directory) :] or b"/"


def join(directory: bytes, path: bytes) -> bytes:
    """The inverse of `relative`: the absolute `path` below `directory`."""
    if path == b"/":
        return directory
    return path if directory == b"/" else directory + path


# The last of the options; a subvolume's name may hold commas.
_SUBVOLUME = re.compile(r"(?:^|,)subvolid=(?P<id>\d+),subvol=(?P<path>.*)$", re.DOTALL)
_ESCAPE = re.compile(rb"\\([0-7]{3})")

# What the kernel makes, or keeps in memory.
_VOLATILE_NAMES = """
autofs bdev binder binfmt_misc bpf cgroup cgroup2 configfs cpuset debugfs devfs devpts devtmpfs
dmabuf fusectl fuse.gvfsd-fuse fuse.lxcfs fuse.portal hugetlbfs mqueue nfsd nsfs pidfs pipefs
proc pstore ramfs resctrl rootfs rpc_pipefs securityfs selinuxfs smackfs sockfs sysfs tmpfs tracefs
"""
_VOLATILE = frozenset(_VOLATILE_NAMES.split())
_DELETED = b"//deleted"


def _parse_line(line: bytes) -> Mount | None:
    # Optional fields stand between the options and a lone "-".
    before, dash, after = line.partition(b" - ")
    head = before.split(b" ")
    tail = after.split(b" ")
    if not dash or len(head) < 6 or len(tail) < 3:
        return None
    if not (head[0].isdigit() and head[1].isdigit()):
        return None
    return Mount(
        mount_id=int(head[0]),
        parent_id=int(head[1]),
        device=_text(head[2]),
        root=_unescape(head[3]),
        point=_unescape(head[4]),
        fstype=_text(tail[0]),
        source=_unescape(tail[1]),
        options=_text(head[5]),
        super_options=_text(b" ".join(tail[2:])),
    )


def _unescape(field: bytes) -> bytes:
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 8) & 0xFF]), field)


def _text(field: bytes) -> str:
    return field.decode(errors="surrogateescape")


class _Table:
    """Walks the tree of mounts the way the kernel resolves a path."""

    def __init__(self, mounts: Sequence[Mount]) -> None:
        known = {mount.mount_id for mount in mounts}
        self.children: dict[tuple[int, bytes], Mount] = {}
        # A chroot's root, or a parent in another namespace, is not in the list.
        self.orphans: dict[bytes, Mount] = {}
        self.points: dict[bytes, list[Mount]] = defaultdict(list)
        for mount in mounts:
            self.points[mount.point].append(mount)
            if mount.parent_id in known and mount.parent_id != mount.mount_id:
                self.children[mount.parent_id, mount.point] = mount
            else:
                self.orphans[mount.point] = mount

    def mount_of(self, path: bytes) -> Mount:
        current: Mount | None = None
        for prefix in _prefixes(path):
            # Mounts stack: each further one at a point has the one below it as its parent.
            for _ in self.points.get(prefix, ()):
                step = (
                    self.orphans.get(prefix)
                    if current is None
                    else self.children.get((current.mount_id, prefix))
                )
                if step is None:
                    break
                current = step
        if current is None:
            raise DriftError(
                f"No mount shows {shown(path)}", "in a chroot, mount the root with mount --bind"
            )
        return current

    def shows(self, mount: Mount) -> bool:
        return self.mount_of(mount.point) is mount


def _prefixes(path: bytes) -> Iterator[bytes]:
    """`/`, `/a`, `/a/b` for `/a/b`."""
    yield b"/"
    position = path.find(b"/", 1)
    while position != -1:
        yield path[:position]
        position = path.find(b"/", position + 1)
    if path != b"/":
        yield path


class _Survey(NamedTuple):
    table: _Table
    live: bytes
    root: Mount
    tree: bytes
    visible: Sequence[Mount]

    def judge(self, mount: Mount) -> MountPoint:
        origin = self.origin(mount)
        return MountPoint(
            path=relative(mount.point, self.live),
            mount=mount,
            survival=self.survival(mount),
            describe=self.describe(mount, origin),
            origin=origin,
        )

    def survival(self, mount: Mount) -> Survival:
        if mount.root.endswith(_DELETED) or mount.fstype in _VOLATILE:
            return Survival.VOLATILE
        if mount.fstype == "overlay":
            return self.overlay(mount)
        if mount.device != self.root.device:
            return Survival.KEPT
        return Survival.SAME_ROOT if self.of_root(mount) else Survival.KEPT

    def of_root(self, mount: Mount) -> bool:
        """Whether a mount of the live root's filesystem shows a part of the live root."""
        subvolume = mount.subvolume
        if self.tree == b"/" and subvolume is not None:
            # Every path lies below the top level; only the subvolume tells.
            return subvolume == b"/"
        return within(mount.root, self.tree)

    def overlay(self, mount: Mount) -> Survival:
        # What is written lands in the upper directory; without one, nothing is.
        upper = _UPPER.search(mount.super_options)
        if upper is None:
            return Survival.VOLATILE
        path = _unescape(upper[1].encode(errors="surrogateescape"))
        if not path.startswith(b"/"):
            return Survival.VOLATILE
        below = self.table.mount_of(path)
        if below.fstype in _VOLATILE or below.fstype == "overlay":
            return Survival.VOLATILE
        if below.device != self.root.device:
            return Survival.KEPT
        return Survival.SAME_ROOT if within(path_inside(below, path), self.tree) else Survival.KEPT

    def origin(self, mount: Mount) -> bytes | None:
        """Where below the live root else the content of this bind mount is seen."""
        if mount.whole:
            return None
        sources = [*self.visible, self.root]
        # The mount of the whole subvolume names the place best: other bind mounts lead to it.
        sources.sort(key=lambda source: (not source.whole, -len(source.root)))
        for source in sources:
            if source.device != mount.device or not within(mount.root, source.root):
                continue
            path = join(source.point, relative(mount.root, source.root))
            if path == mount.point or not within(path, self.live):
                continue
            if self.table.mount_of(path) is source:
                return relative(path, self.live)
        return None

    def describe(self, mount: Mount, origin: bytes | None) -> str:
        if mount.root.endswith(_DELETED):
            return "bind mount of something that was deleted"
        if origin is not None:
            return f"bind mount from {shown(origin)}"
        if mount.fstype == "btrfs":
            return self.describe_subvolume(mount)
        name = _filesystem(mount)
        return name if mount.whole else f"directory {shown(mount.root)} of {name}"

    def describe_subvolume(self, mount: Mount) -> str:
        subvolume = mount.subvolume
        elsewhere = "" if mount.device == self.root.device else f" on {shown(mount.source)}"
        if subvolume is None:
            return f"btrfs on {shown(mount.source)}"
        if subvolume == b"/":
            name = f"Btrfs top level{elsewhere}"
        else:
            name = f"subvolume {shown(subvolume[1:])}{elsewhere}"
        # A bind mount of a subvolume onto itself (/nix/store) shows the subvolume all the same.
        if mount.whole or any(
            other.device == mount.device
            and within(mount.root, other.root)
            and within(mount.point, other.point)
            and path_inside(other, mount.point) == mount.root
            for other in self.visible
            if other is not mount
        ):
            return name
        inside = relative(mount.root, subvolume)
        return f"directory {shown(inside)} of {name}"


_UPPER = re.compile(r"(?:^|,)upperdir=((?:[^,\\]|\\.)*)")


def _filesystem(mount: Mount) -> str:
    if mount.fstype in _VOLATILE or mount.source in (b"", b"none", b"overlay"):
        return mount.fstype
    if b":" in mount.source or mount.source.startswith(b"//"):
        return f"{mount.fstype} from {shown(mount.source)}"
    return f"{mount.fstype} on {shown(mount.source)}"
