"""Find the live root and the blank, and choose the engine that can compare them."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from drift.errors import DriftError
from drift.model import Engine, Lineage, Root
from drift.names import shown
from drift.system.mounts import mount_of, read_mounts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from drift.btrfs.subvolumes import Subvolume
    from drift.system.mounts import Mount


class Filesystem(NamedTuple):
    """One mounted Btrfs filesystem: an open directory on it, a source device, its subvolumes.

    What is written after this was read has a higher generation than `generation`.
    """

    fd: int
    device: bytes
    subvolumes: Mapping[int, Subvolume]
    generation: int


class Located(NamedTuple):
    """The two roots and how to compare them.

    `live_directory` is where the live root is mounted. `filesystem`, `live_subvolume` and
    `blank_subvolume` are set where both are subvolumes of one Btrfs filesystem that may be
    searched; `blank_directory` is the blank where it is a plain directory. `base` is where the two
    histories parted.
    """

    live: Root
    blank: Root | None
    engine: Engine
    lineage: Lineage
    base: int | None
    live_directory: bytes
    blank_directory: bytes | None
    mounts: Sequence[Mount]
    filesystem: Filesystem | None = None
    live_subvolume: Subvolume | None = None
    blank_subvolume: Subvolume | None = None

    def close(self) -> None:
        if self.filesystem is not None:
            os.close(self.filesystem.fd)


def locate(
    live: bytes = b"/",
    blank: bytes | None = None,
    engine: str = "auto",
    *,
    explicit_live: bool = False,
) -> Located:
    """Find both roots from `--live`, `--blank` and `--engine`.

    `blank` is a directory, a subvolume's name, `b"none"`, or None to look for it. DriftError where
    they can't be found or not be compared as asked.
    """
    directory = _directory(live, f"the live root {shown(live)}", "give --live a mounted root")
    mounts = read_mounts()
    blank_directory = _as_directory(blank)
    mount, problem = _mount(directory, mounts)
    if mount is not None and problem is None:
        problem = _why_not_searched(directory, mount)
    if mount is not None and problem is None and blank_directory is not None:
        problem = _why_not_same(blank_directory, mount, mounts)
    if mount is None or problem is not None:
        if problem is not None and blank_directory is None and not _is_none(blank):
            raise problem
        if engine == "walk" or (engine == "auto" and explicit_live):
            return _walk(directory, blank_directory, mounts)
        assert problem is not None
        raise problem
    return _btrfs(directory, blank, blank_directory, engine, mount, mounts)


def _mount(directory: bytes, mounts: Sequence[Mount]) -> tuple[Mount | None, DriftError | None]:
    try:
        return mount_of(mounts, directory), None
    except DriftError as error:
        return None, error


def _btrfs(
    directory: bytes,
    blank: bytes | None,
    blank_directory: bytes | None,
    engine: str,
    mount: Mount,
    mounts: Sequence[Mount],
) -> Located:
    from drift.btrfs import subvolumes as btrfs
    from drift.btrfs.roots import list_subvolumes

    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        live_id = btrfs.subvolume_id(fd)
        # What was written a moment ago is in no tree yet, and a snapshot's uuid neither.
        generation = btrfs.sync(fd)
        subvolumes = list_subvolumes(fd)
        live = subvolumes[live_id or 0]
        found: Subvolume | None
        if _is_none(blank):
            found = None
        elif blank_directory is not None:
            found = subvolumes[btrfs.subvolume_id(blank_directory) or 0]
        elif blank is not None:
            found = btrfs.named_blank(blank, live, subvolumes)
        else:
            found = btrfs.find_blank(live, subvolumes)
        relation = (
            btrfs.Relation(Lineage.NONE, None)
            if found is None
            else btrfs.relate(live, found, subvolumes.values())
        )
        return Located(
            live=Root(directory, live.path, live.id, live.generation),
            blank=None
            if found is None
            else Root(blank_directory or found.path, found.path, found.id, found.generation),
            engine=_choose(engine, relation.base),
            lineage=relation.lineage,
            base=relation.base,
            live_directory=directory,
            blank_directory=blank_directory,
            mounts=mounts,
            filesystem=Filesystem(fd, mount.source, subvolumes, generation),
            live_subvolume=live,
            blank_subvolume=found,
        )
    except BaseException:
        os.close(fd)
        raise


def _choose(engine: str, base: int | None) -> Engine:
    if engine == "walk":
        return Engine.WALK
    if engine == "generation" and base is None:
        raise DriftError(
            "the engine `generation` needs two subvolumes of proved lineage, and these have none",
            "leave --engine out, or use --engine metadata",
        )
    if engine == "metadata" or base is None:
        return Engine.METADATA
    return Engine.GENERATION


def _walk(directory: bytes, blank: bytes | None, mounts: Sequence[Mount]) -> Located:
    lineage = Lineage.NONE if blank is None else Lineage.UNRELATED
    return Located(
        live=_plain(directory),
        blank=None if blank is None else _plain(blank),
        engine=Engine.WALK,
        lineage=lineage,
        base=None,
        live_directory=directory,
        blank_directory=blank,
        mounts=mounts,
    )


def _plain(directory: bytes) -> Root:
    return Root(directory, b"", 0, 0)


def _why_not_searched(directory: bytes, mount: Mount) -> DriftError | None:
    name = shown(directory)
    if mount.fstype != "btrfs":
        return DriftError(
            f"{name} is on {mount.fstype}, not Btrfs",
            "give --live and --blank directories to compare them entry by entry",
        )
    if os.geteuid() != 0:
        return DriftError(
            "reading Btrfs metadata needs root",
            "run drift with sudo, or give --live and --blank directories with --engine walk",
        )
    from drift.btrfs.subvolumes import subvolume_id

    if subvolume_id(directory) is None:
        return DriftError(
            f"{name} is a directory inside a Btrfs subvolume, not the top of one",
            "give --live the directory where the root's subvolume is mounted",
        )
    return None


def _why_not_same(blank: bytes, mount: Mount, mounts: Sequence[Mount]) -> DriftError | None:
    name = shown(blank)
    if mount_of(mounts, blank).device != mount.device:
        return DriftError(
            f"the blank {name} is on another filesystem than the live root",
            "a blank that belongs to the live root is on the same one; to compare any two"
            " directories entry by entry, add --engine walk",
        )
    from drift.btrfs.subvolumes import subvolume_id

    if subvolume_id(blank) is None:
        return DriftError(
            f"the blank {name} is a directory inside a subvolume, not the top of one",
            "give --blank a subvolume, or compare the directories with --engine walk",
        )
    return None


def _as_directory(blank: bytes | None) -> bytes | None:
    if blank is None or _is_none(blank):
        return None
    if os.path.isdir(blank) or blank.startswith((b"/", b"./", b"../")):
        hint = "give --blank a directory, a subvolume's name, or none"
        return _directory(blank, f"the blank {shown(blank)}", hint)
    return None


def _directory(path: bytes, what: str, hint: str) -> bytes:
    """The real path of a directory that drift may enter."""
    try:
        if stat.S_ISDIR(os.stat(path).st_mode):
            return os.path.realpath(path)
    except PermissionError as error:
        raise DriftError(
            f"{what} can't be entered: permission denied", "run it with sudo"
        ) from error
    except OSError:
        pass
    raise DriftError(f"{what} is no directory", hint)


def _is_none(blank: bytes | None) -> bool:
    return blank == b"none"
