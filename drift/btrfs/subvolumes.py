"""Who is live, who is blank, and how they are related; the only user of btrfsutil."""

from __future__ import annotations

import errno
import re
from typing import TYPE_CHECKING, NamedTuple

from drift.btrfs.items import FS_TREE_OBJECTID
from drift.errors import DriftError
from drift.model import Lineage
from drift.names import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import ModuleType

NO_UUID = bytes(16)
# The generation of a filesystem that nothing can write to: none is higher.
UNWRITTEN = 2**64 - 2

# root-blank, @root-blank, @blank, @ROOT-BLANK, root@blank, rootfs.blank: "blank" as a word of its own.
BLANK_NAME = re.compile(rb"(^|[^a-z0-9])blank$", re.IGNORECASE)


class Subvolume(NamedTuple):
    """What the root tree says of one subvolume.

    `path` is relative to the top level (`b""` is the top level itself); `directory` is the inode,
    in the tree `parent_id`, of the directory that holds it. `otransid` is the generation at which
    it was created, for a snapshot the one at which it parted from its source.
    """

    id: int
    parent_id: int
    directory: int
    path: bytes
    uuid: bytes
    parent_uuid: bytes
    generation: int
    otransid: int
    otime: float
    read_only: bool

    @property
    def name(self) -> bytes:
        return self.path.rpartition(b"/")[2]


class Relation(NamedTuple):
    """How two subvolumes are related.

    `base` is the generation at which their histories parted: whatever has changed in either of
    them since lies in leaves of at least that generation. None where no relation is proved.
    """

    lineage: Lineage
    base: int | None


def subvolume_id(path: bytes | int) -> int | None:
    """The id of the subvolume whose top directory `path` is, None if it is not one."""
    binding = _binding()
    try:
        if not binding.is_subvolume(path):
            return None
        return int(binding.subvolume_id(path))
    except binding.BtrfsUtilError:
        return None


def sync(fd: int) -> int:
    """Write all that is delayed into the trees, without which a search misses what is new.

    Returns the generation that holds it: what is written from now on has a higher one.
    """
    binding = _binding()
    try:
        binding.sync(fd)
        # The first call also writes file data back; only the second one tells the generation.
        generation = int(binding.start_sync(fd))
        binding.wait_sync(fd, generation)
        return generation
    except binding.BtrfsUtilError as error:
        if error.errno == errno.EROFS:
            return UNWRITTEN
        raise DriftError(
            f"the filesystem can't be synced: {error.strerror or error}",
            "drift reads what is on disk; look at the kernel log for errors of this filesystem",
        ) from error


def create_snapshot(source: int, path: bytes) -> None:
    """Make a read-only snapshot of the subvolume open as `source`; DriftError if that fails."""
    binding = _binding()
    try:
        binding.create_snapshot(source, path, read_only=True)
    except binding.BtrfsUtilError as error:
        raise DriftError(
            f"no snapshot of the live root could be taken: {error.strerror or error}",
            "free some space on its filesystem, or read the live root itself with --no-snapshot",
        ) from error


def delete_subvolume(path: bytes) -> None:
    """Delete the subvolume at `path`; DriftError if that fails."""
    binding = _binding()
    try:
        binding.delete_subvolume(path)
    except binding.BtrfsUtilError as error:
        raise DriftError(
            f"a snapshot could not be deleted: {error.strerror or error}",
            "look for it on the top level of the filesystem",
        ) from error


def relate(live: Subvolume, blank: Subvolume, subvolumes: Iterable[Subvolume]) -> Relation:
    """Find the nearest common ancestor by uuid, and the generation at which the two parted.

    Each snapshot's `otransid` is the generation at which it left its source, so both subvolumes
    were equal to the ancestor, and to each other, just before the smallest `otransid` on the way
    from the ancestor down to either of them. A link of the chain that was deleted ends it; a
    deleted ancestor that both still name by uuid is proof enough.
    """
    by_uuid = {subvolume.uuid: subvolume for subvolume in subvolumes if subvolume.uuid != NO_UUID}
    up_from_live = _chain(live, by_uuid)
    up_from_blank = _chain(blank, by_uuid)
    common = next((uuid for uuid in up_from_live if uuid in up_from_blank), None)
    if common is None:
        return Relation(Lineage.UNRELATED, None)
    parted = [
        otransid
        for otransid in (up_from_live[common], up_from_blank[common])
        if otransid is not None
    ]
    if common == blank.uuid:
        lineage = Lineage.LIVE_FROM_BLANK
    elif common == live.uuid:
        lineage = Lineage.BLANK_FROM_LIVE
    else:
        lineage = Lineage.COMMON_ANCESTOR
    return Relation(lineage, min(parted, default=live.otransid))


def find_blank(live: Subvolume, subvolumes: Mapping[int, Subvolume]) -> Subvolume:
    """The blank of `live`: by lineage first, then by name; a choice between several is an error."""
    inside_live = _nested_in(live, subvolumes)
    others = [
        subvolume
        for subvolume in subvolumes.values()
        if subvolume.id not in (FS_TREE_OBJECTID, live.id) and subvolume.id not in inside_live
    ]
    parent = next((one for one in others if one.uuid == live.parent_uuid != NO_UUID), None)
    named = [subvolume for subvolume in others if BLANK_NAME.search(subvolume.path)]
    related = [
        subvolume
        for subvolume in named
        if relate(live, subvolume, subvolumes.values()).base is not None
    ]
    if parent is not None and (parent in related or not related):
        return parent
    for candidates in (related, named):
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            raise DriftError(
                "several subvolumes could be the blank:\n" + _listed(candidates),
                "name the one that is restored at boot, as in --blank " + shown(candidates[0].path),
            )
    raise DriftError(
        "no blank snapshot was found among the subvolumes of this filesystem:\n" + _listed(others),
        "name the one that is restored at boot with --blank NAME, or compare with nothing by"
        " --blank none",
    )


def named_blank(name: bytes, live: Subvolume, subvolumes: Mapping[int, Subvolume]) -> Subvolume:
    """The subvolume called `name`: its whole path from the top level, or the end of it."""
    wanted = name.strip(b"/")
    others = [one for one in subvolumes.values() if one.id not in (FS_TREE_OBJECTID, live.id)]
    exact = [one for one in others if one.path == wanted]
    ends = [one for one in others if one.path.endswith(b"/" + wanted)]
    candidates = exact or ends
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        raise DriftError(
            f"several subvolumes are called {shown(name)}:\n" + _listed(candidates),
            "give the whole path from the top level, as in --blank " + shown(candidates[0].path),
        )
    raise DriftError(
        f"there is no subvolume {shown(name)} on this filesystem, which has:\n" + _listed(others),
        "give --blank one of these, a directory, or none",
    )


def _chain(start: Subvolume, by_uuid: Mapping[bytes, Subvolume]) -> dict[bytes, int | None]:
    """Map each ancestor's uuid to the smallest otransid between it and `start`.

    A subvolume is its own first ancestor, with nothing between.
    """
    chain: dict[bytes, int | None] = {}
    if start.uuid != NO_UUID:
        chain[start.uuid] = None
    smallest: int | None = None
    current: Subvolume | None = start
    while current is not None and current.parent_uuid != NO_UUID:
        smallest = current.otransid if smallest is None else min(smallest, current.otransid)
        if current.parent_uuid in chain:
            break
        chain[current.parent_uuid] = smallest
        current = by_uuid.get(current.parent_uuid)
    return chain


def _nested_in(live: Subvolume, subvolumes: Mapping[int, Subvolume]) -> set[int]:
    inside: set[int] = set()
    if live.id == FS_TREE_OBJECTID:
        # With the top level itself as the live root, every subvolume would be "inside".
        return inside
    for subvolume in subvolumes.values():
        above = subvolume.parent_id
        seen: set[int] = set()
        while above in subvolumes and above not in seen:
            if above == live.id:
                inside.add(subvolume.id)
                break
            seen.add(above)
            above = subvolumes[above].parent_id
    return inside


def _listed(subvolumes: Iterable[Subvolume]) -> str:
    lines = sorted(f"  {shown(subvolume.path)}" for subvolume in subvolumes)
    return "\n".join(lines) or "  (none)"


def _binding() -> ModuleType:
    # Imported late: an error of the dynamic linker must become a sentence.
    try:
        import btrfsutil
    except ImportError as error:
        raise DriftError(
            f"the Python binding of libbtrfsutil does not load: {error}",
            "install the btrfsutil that matches this machine's libbtrfsutil (`make setup` does),"
            " or compare two directories with --engine walk",
        ) from error
    return btrfsutil  # type: ignore[no-any-return]
