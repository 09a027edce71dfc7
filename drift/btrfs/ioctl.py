"""Search Btrfs trees through BTRFS_IOC_TREE_SEARCH_V2, clone and lock; the only user of fcntl.

The structures are those of the kernel's `linux/btrfs.h`. The search header is host-endian and the
item payloads are little-endian; drift reads both with one struct and so runs on little-endian
machines, which are all that NixOS supports.
"""

from __future__ import annotations

import errno
import mmap
from fcntl import LOCK_EX, LOCK_NB, flock, ioctl
from struct import Struct

from drift.errors import DriftError

BTRFS_IOC_TREE_SEARCH_V2 = 0xC0709411
# linux/fs.h
FICLONE = 0x40049409
FS_IOC_GETFLAGS = 0x80086601
FS_IOC_SETFLAGS = 0x40086602
FS_NOCOW_FL = 0x800000

# struct btrfs_ioctl_search_key and the buffer size behind it, 112 bytes.
SEARCH_ARGS = Struct("<7Q4I4QQ")
# struct btrfs_ioctl_search_header: transid of the leaf, objectid, offset, type, len.
HEADER = Struct("<QQQII")
HEADER_SIZE = HEADER.size

# No item is larger than a node, and no node than 64 KiB.
LARGEST_ITEM = 65536 + HEADER_SIZE

ANY = 2**64 - 1
ANY_TYPE = 255

Key = tuple[int, int, int]


class Search:
    """A reusable search buffer on one filesystem; not shared between threads.

    `buffer` holds the answer of the last `fetch`: items from `START` on, each a HEADER and its
    payload, and zeros behind the last one, so that its end reads as an item of type 0.
    """

    START = SEARCH_ARGS.size

    def __init__(self, fd: int, size: int = 256 * 1024) -> None:
        self.fd = fd
        self.size = max(size, 2 * LARGEST_ITEM)
        # Wide structs may read past the last item; the slack keeps them inside the map.
        self.buffer = mmap.mmap(-1, self.START + self.size + 4096)
        self._zeros = bytes(self.size)

    def fetch(
        self,
        tree: int,
        first: Key,
        last: Key,
        *,
        min_transid: int = 0,
        items: int = 2**32 - 1,
        zeroed: bool = True,
    ) -> int:
        """Read the items with keys from `first` to `last` (objectid, type, offset) into `buffer`.

        Returns how many there are: 0 at the end of the range. Only leaves with a generation of at
        least `min_transid` are read. Who goes by the count needs no zeros behind the last item and
        saves the time by `zeroed` False. DriftError where the user is not root, or the disk fails.
        """
        buffer = self.buffer
        if zeroed:
            buffer[self.START : self.START + self.size] = self._zeros
        SEARCH_ARGS.pack_into(
            buffer, 0,
            tree, first[0], last[0], first[2], last[2], min_transid, ANY,
            first[1], last[1], items, 0, 0, 0, 0, 0, self.size,
        )  # fmt: skip
        try:
            ioctl(self.fd, BTRFS_IOC_TREE_SEARCH_V2, buffer, True)
        except OSError as error:
            if error.errno == errno.EPERM:
                raise DriftError(
                    "reading Btrfs metadata needs root",
                    "run drift with sudo, or give --live and --blank directories with --engine walk",
                ) from error
            if error.errno == errno.ENOENT:
                return 0
            if error.errno in (errno.EIO, errno.EUCLEAN):
                raise DriftError(
                    f"the filesystem's metadata can't be read: {error.strerror}",
                    "the kernel log (dmesg) names the device; btrfs scrub finds what is damaged",
                ) from error
            raise
        # nr_items, which the kernel sets to the number of items it copied.
        return int.from_bytes(buffer[64:68], "little")

    def item(self, tree: int, key: Key) -> bytes | None:
        """The payload of the one item with this key, None where there is none."""
        if not self.fetch(tree, key, key, items=1, zeroed=False):
            return None
        length = int.from_bytes(self.buffer[self.START + 28 : self.START + 32], "little")
        start = self.START + HEADER_SIZE
        return self.buffer[start : start + length]

    def ended(self, position: int) -> bool:
        """Whether an answer that ends at `position` was cut by its range, not by the buffer."""
        return position - self.START + LARGEST_ITEM < self.size

    def close(self) -> None:
        self.buffer.close()


def after(key: Key) -> Key:
    """The key that follows `key` in the 136-bit key space."""
    objectid, kind, offset = key
    if offset < ANY:
        return objectid, kind, offset + 1
    if kind < ANY_TYPE:
        return objectid, kind + 1, 0
    return objectid + 1, 0, 0


# What FICLONE says where two files can't share extents: other filesystems, or other kinds of data.
_NO_CLONE = (
    errno.EOPNOTSUPP,
    errno.EXDEV,
    errno.EINVAL,
    errno.ENOTTY,
    errno.ENOSYS,
    errno.ETXTBSY,
    errno.EPERM,
)


def clone(target: int, source: int) -> bool:
    """Let the file `target` share all data of `source`; False where that can't be."""
    try:
        ioctl(target, FICLONE, source)
    except OSError as error:
        if error.errno not in _NO_CLONE:
            raise
        return False
    return True


def copy_nocow(source: int, target: int) -> None:
    """Give an empty file or directory the attribute to be written in place, if `source` has it.

    On filesystems that don't know it nothing happens.
    """
    try:
        flags = int.from_bytes(ioctl(source, FS_IOC_GETFLAGS, bytes(4)), "little")
        if flags & FS_NOCOW_FL:
            own = int.from_bytes(ioctl(target, FS_IOC_GETFLAGS, bytes(4)), "little")
            ioctl(target, FS_IOC_SETFLAGS, (own | FS_NOCOW_FL).to_bytes(4, "little"))
    except OSError:
        return


def lock(fd: int) -> bool:
    """Lock what `fd` is open on until it is closed, by a kill as well; False if somebody has it."""
    try:
        flock(fd, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        return False
    return True
