"""Open both sides and run the engine: the stream of differences between two located roots."""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, cast

from drift.btrfs.items import told_as_damage
from drift.diff.content import compare_pairs, open_below
from drift.diff.stream import settle
from drift.errors import DriftError
from drift.model import Change, Engine, Skipped
from drift.names import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from drift.btrfs.ioctl import Search
    from drift.diff.stream import Block, Found, Pending
    from drift.locate import Located


@contextmanager
def differences(
    located: Located,
    skipped: list[Skipped],
    *,
    progress: Callable[[int], None] | None = None,
    needs_content: Callable[[bytes], bool] = lambda _: True,
    ordered: bool = True,
    whole: Callable[[Change], bool] | None = None,
) -> Iterator[Iterator[Found]]:
    """Give the stream of differences, which is read while the context is open.

    What can't be read is added to `skipped`. Where `needs_content` says no for a path, two files
    that only reading could tell apart count as different. `ordered` False lets the changes of one
    directory come in any order. Where `whole` says yes to a new directory, what lies below it may
    come as one Subtree; without it none comes.
    """
    check: Callable[[Iterator[Found]], Iterator[Found]] = _unchecked
    with told_as_damage(), ExitStack() as resources:
        if located.engine is Engine.WALK:
            events, comparer = _walk(located, skipped, resources)
        else:
            events, comparer, check = _search(
                located, skipped, resources, progress, ordered=ordered, whole=whole
            )

        def compare(pairs: list[Pending]) -> list[bool | None]:
            wanted = [index for index, pair in enumerate(pairs) if needs_content(pair.live_path)]
            answers: list[bool | None] = [False] * len(pairs)
            for index, answer in zip(
                wanted, comparer([pairs[index] for index in wanted]), strict=True
            ):
                answers[index] = answer
            return answers

        yield check(settle(events, compare))


def listed(stream: Iterable[Found]) -> Iterator[Change | Block]:
    """The stream of a comparison that was not asked for sums."""
    return cast("Iterator[Change | Block]", iter(stream))


def _unchecked(stream: Iterator[Found]) -> Iterator[Found]:
    # A walk names nothing that it did not see under that very name.
    return stream


def _search(
    located: Located,
    skipped: list[Skipped],
    resources: ExitStack,
    progress: Callable[[int], None] | None,
    *,
    ordered: bool,
    whole: Callable[[Change], bool] | None,
) -> tuple[
    Iterator[Found | Pending],
    Callable[[list[Pending]], list[bool | None]],
    Callable[[Iterator[Found]], Iterator[Found]],
]:
    from drift.btrfs.ioctl import Search
    from drift.diff.content import inode_below
    from drift.diff.generation import Comparison
    from drift.diff.steady import is_there, named_since, steady, written_since
    from drift.diff.trees import Side

    filesystem, live, blank = (
        located.filesystem,
        located.live_subvolume,
        located.blank_subvolume,
    )
    if filesystem is None or live is None:
        raise DriftError("the live root is no Btrfs subvolume", "use --engine walk")
    search = Search(filesystem.fd)
    resources.callback(search.close)
    since = located.base or 0 if located.engine is Engine.GENERATION else 0
    live_side = Side(
        search,
        live,
        filesystem.subvolumes,
        since,
        progress,
        None if blank is None else blank.id,
    )
    blank_side = (
        None if blank is None else Side(search, blank, filesystem.subvolumes, since, progress)
    )
    bound = located.base
    if bound is None:
        bound = 0 if blank is None else max(live.otransid, blank.otransid)

    def vanished(path: bytes) -> None:
        skipped.append(Skipped(path, "it vanished while drift was reading"))

    comparison = Comparison(
        live_side,
        blank_side,
        since=since,
        bound=bound,
        vanished=vanished,
        ordered=ordered,
        whole=whole,
    )
    opened: list[int] = []

    def top() -> int:
        if not opened:
            opened.append(open_top(located, resources))
        return opened[0]

    def written() -> bool:
        for subvolume in (live, blank):
            # Of a deleted one the kernel says that it has no items, as of an empty one.
            if subvolume is not None and not is_there(search, subvolume.id):
                raise DriftError(
                    f"the subvolume {shown(subvolume.path)} was deleted while drift was reading it",
                    "run drift again once nothing deletes subvolumes",
                )
        return any(written_since(search, tree, filesystem.generation) for tree in live_side.trees())

    def check(stream: Iterator[Found]) -> Iterator[Found]:
        return steady(
            stream,
            written=written,
            moved=lambda: {
                inode
                for tree in live_side.trees()
                for inode in named_since(search, tree, filesystem.generation)
            },
            inode_at=lambda path: inode_below(top(), live.path + path),
            vanished=vanished,
        )

    return comparison.events(), _reader(located, skipped, top), check


def _reader(
    located: Located, skipped: list[Skipped], top: Callable[[], int]
) -> Callable[[list[Pending]], list[bool | None]]:
    """Compare contents through a private mount of the top level, made when first needed."""

    def compare(pairs: list[Pending]) -> list[bool | None]:
        assert located.live_subvolume is not None
        assert located.blank_subvolume is not None
        live, blank = located.live_subvolume.path, located.blank_subvolume.path
        return compare_pairs(
            pairs,
            lambda path: open_below(top(), live + path),
            lambda path: open_below(top(), blank + path),
            _unreadable(skipped),
        )

    return compare


def open_top(located: Located, resources: ExitStack) -> int:
    """A directory descriptor of the filesystem's top level, closed with `resources`."""
    from drift.system.mounts import open_top_level

    assert located.filesystem is not None
    top = open_top_level(located.filesystem.device)
    resources.callback(os.close, top)
    return top


def _unreadable(skipped: list[Skipped]) -> Callable[[bytes, OSError], None]:
    def note(path: bytes, error: OSError) -> None:
        skipped.append(Skipped(path, _reason(error)))

    return note


def _reason(error: OSError) -> str:
    match error.errno:
        case errno.ENOENT:
            return "it vanished while drift was reading"
        case errno.EIO:
            return "the disk gave an error when reading it"
        case errno.EMFILE | errno.ENFILE:
            return "too many files are open (raise the limit with ulimit -n)"
        case 0 | None:
            return str(error.strerror or error)
        case _:
            return (error.strerror or str(error)).lower()


def _walk(
    located: Located, skipped: list[Skipped], resources: ExitStack
) -> tuple[Iterator[Found | Pending], Callable[[list[Pending]], list[bool | None]]]:
    from drift.diff.walk import DIRECTORY, Walk
    from drift.system.mounts import mounts_below

    def open_directory(path: bytes, top: int | None = None) -> int:
        try:
            fd = os.open(path or b".", DIRECTORY, dir_fd=top)
        except OSError as error:
            raise DriftError(
                f"{os.fsdecode(path)} can't be read: {error.strerror}", "drift needs to read it"
            ) from error
        resources.callback(os.close, fd)
        return fd

    barriers: frozenset[bytes] = frozenset()
    live_subvolume, blank_subvolume = located.live_subvolume, located.blank_subvolume
    if live_subvolume is not None:
        # Through the top level nothing is mounted over anything: all of the subvolume shows.
        top = open_top(located, resources)
        live = open_directory(live_subvolume.path, top)
        blank = None if blank_subvolume is None else open_directory(blank_subvolume.path, top)
    else:
        live = open_directory(located.live_directory)
        blank = None if located.blank_directory is None else open_directory(located.blank_directory)
        barriers = frozenset(
            point.path for point in mounts_below(located.mounts, located.live_directory)
        )
    identity: Callable[[int, bytes, os.stat_result, bool], tuple[int, ...] | None]
    identity = _identity_by_device
    if located.filesystem is not None and live_subvolume is not None and blank is not None:
        from drift.btrfs.ioctl import Search

        search = Search(located.filesystem.fd)
        resources.callback(search.close)
        identity = _identity_by_generation(located, search)
    walk = Walk(
        live,
        blank,
        is_btrfs=_is_btrfs(located),
        identity=identity,
        skip=_unreadable(skipped),
        barriers=barriers,
    )

    def compare(pairs: list[Pending]) -> list[bool | None]:
        return compare_pairs(
            pairs,
            lambda path: open_below(live, path),
            lambda path: open_below(-1 if blank is None else blank, path),
            _unreadable(skipped),
        )

    return walk.events(), compare


def _identity_by_device(
    _parent: int, _name: bytes, found: os.stat_result, _live: bool
) -> tuple[int, ...] | None:
    # On one device an inode number is one file; on two, equal numbers mean nothing.
    return found.st_dev, found.st_ino


def _identity_by_generation(
    located: Located, search: Search
) -> Callable[[int, bytes, os.stat_result, bool], tuple[int, ...] | None]:
    """As the other engines tell it: the same inode, made before the two subvolumes parted."""
    from drift.btrfs.trees import read_node

    live, blank = located.live_subvolume, located.blank_subvolume
    assert live is not None
    assert blank is not None
    bound = located.base if located.base is not None else max(live.otransid, blank.otransid)

    def identity(
        _parent: int, _name: bytes, found: os.stat_result, is_live: bool
    ) -> tuple[int, ...] | None:
        node = read_node(search, live.id if is_live else blank.id, found.st_ino)
        if node is None or node.generation > bound:
            return None
        return node.inode, node.generation, node.otime

    return identity


def _is_btrfs(located: Located) -> Callable[[os.stat_result], bool]:
    if located.filesystem is not None:
        return lambda _: True
    from drift.system.mounts import mount_of

    roots = [located.live_directory, located.blank_directory]
    kinds: dict[int, str] = {}
    for root in roots:
        if root is None:
            continue
        try:
            kinds[os.stat(root).st_dev] = mount_of(located.mounts, root).fstype
        except DriftError:
            # In a chroot no mount may show it; then it counts as no Btrfs.
            kinds[os.stat(root).st_dev] = ""
    # A subvolume inside has a device number of its own, that no mount point shows.
    btrfs = "btrfs" in kinds.values()
    return lambda found: kinds.get(found.st_dev, "btrfs" if btrfs else "") == "btrfs"
