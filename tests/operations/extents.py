"""Operations on how bytes are stored: holes, preallocation, sharing, compression, placement."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress

import btrfsutil
import syscalls
from scene import NothingSuitableError, Scene, write_all

from operations.registry import costly_operation, operation

BLOCK = 4096


@operation
def write_sparse_file(scene: Scene) -> None:
    fd = scene.open(scene.fresh(), os.O_RDWR | os.O_CREAT)
    for _ in range(scene.rng.randrange(4)):
        os.pwrite(fd, scene.content(), scene.rng.randrange(1 << 20))
    os.ftruncate(fd, scene.rng.choice((1, 70_000, 1 << 20, 3 << 20)))


@operation
def extend_by_a_hole(scene: Scene) -> None:
    path = scene.file()
    size = os.stat(scene.at(path)).st_size
    os.truncate(scene.at(path), size + scene.rng.choice((1, BLOCK, 100_000)))


@operation
def extend_by_zeros(scene: Scene) -> None:
    fd = scene.open(scene.file(), os.O_WRONLY | os.O_APPEND)
    write_all(fd, bytes(scene.rng.choice((1, BLOCK, 100_000))))


@operation
def punch_hole(scene: Scene) -> None:
    fd, offset, length = _range(scene)
    mode = syscalls.FALLOC_PUNCH_HOLE | syscalls.FALLOC_KEEP_SIZE
    syscalls.fallocate(fd, mode, offset, length)


@operation
def punch_hole_and_fill_it_again(scene: Scene) -> None:
    fd, offset, length = _range(scene)
    content = os.pread(fd, length, offset)
    mode = syscalls.FALLOC_PUNCH_HOLE | syscalls.FALLOC_KEEP_SIZE
    syscalls.fallocate(fd, mode, offset, length)
    os.pwrite(fd, content, offset)


@operation
def store_zeros_as_holes(scene: Scene) -> None:
    """The bytes stay, the extents of all-zero blocks go."""
    path = scene.filled_file()
    content = scene.read(path)
    fd = scene.open(path)
    mode = syscalls.FALLOC_PUNCH_HOLE | syscalls.FALLOC_KEEP_SIZE
    for offset in range(0, len(content), BLOCK):
        if not content[offset : offset + BLOCK].strip(b"\0"):
            syscalls.fallocate(fd, mode, offset, BLOCK)


@operation
def store_holes_as_zeros(scene: Scene) -> None:
    path = scene.filled_file()
    content = scene.read(path)
    fd = scene.open(path)
    for offset in range(0, len(content), BLOCK):
        block = content[offset : offset + BLOCK]
        if not block.strip(b"\0"):
            os.pwrite(fd, block, offset)


@operation
def write_zeros(scene: Scene) -> None:
    fd, offset, length = _range(scene)
    os.pwrite(fd, bytes(length), offset)


@operation
def zero_range(scene: Scene) -> None:
    fd, offset, length = _range(scene)
    keep = scene.rng.choice((0, syscalls.FALLOC_KEEP_SIZE))
    syscalls.fallocate(fd, syscalls.FALLOC_ZERO_RANGE | keep, offset, length)


@operation
def preallocate_beyond_the_end(scene: Scene) -> None:
    fd = scene.open(scene.file())
    syscalls.fallocate(fd, syscalls.FALLOC_KEEP_SIZE, 0, scene.rng.choice((BLOCK, 300_000)))


@operation
def preallocate_and_extend(scene: Scene) -> None:
    fd = scene.open(scene.file())
    size = os.fstat(fd).st_size
    syscalls.fallocate(fd, 0, size, scene.rng.choice((1, BLOCK, 300_000)))


@operation
def preallocate_behind_inline_data(scene: Scene) -> None:
    """A small file that was written out keeps its inline extent and gets others behind it."""
    path = scene.fresh()
    fd = scene.open(path, os.O_RDWR | os.O_CREAT)
    write_all(fd, scene.content(scene.rng.choice((1, 100, 1000))))
    os.fsync(fd)
    syscalls.fallocate(fd, 0, os.fstat(fd).st_size, scene.rng.choice((1, 20_000, 300_000)))


@operation
def write_far_into_a_file_that_begins_small(scene: Scene) -> None:
    """What is behind the inline extent changes, the size doesn't."""
    fd = scene.open(scene.filled_file(10_000))
    at = scene.rng.randrange(4096, os.fstat(fd).st_size - 1)
    os.pwrite(fd, scene.rng.randbytes(1), at)


@operation
def preallocate_and_write_into_it(scene: Scene) -> None:
    fd = scene.open(scene.fresh(), os.O_RDWR | os.O_CREAT)
    syscalls.fallocate(fd, 0, 0, 64 * 1024)
    if scene.rng.random() < 0.7:
        os.pwrite(fd, scene.rng.randbytes(5000), scene.rng.choice((0, 4096, 30_000)))


@operation
def reflink_to_a_new_file(scene: Scene) -> None:
    source = scene.open(scene.file(), os.O_RDONLY)
    syscalls.clone(scene.open(scene.fresh(), os.O_RDWR | os.O_CREAT), source)


@operation
def reflink_over_another_file(scene: Scene) -> None:
    source, target = scene.file(), scene.file()
    if source == target:
        raise NothingSuitableError
    fd = scene.open(target, os.O_RDWR | os.O_TRUNC)
    syscalls.clone(fd, scene.open(source, os.O_RDONLY))


@operation
def replace_by_a_reflink_of_itself(scene: Scene) -> None:
    path = scene.file()
    temporary = path[: path.rindex(b"/")] + b"/.reflink"
    target = scene.open(temporary, os.O_RDWR | os.O_CREAT)
    syscalls.clone(target, scene.open(path, os.O_RDONLY))
    os.rename(scene.at(temporary), scene.at(path))


@operation
def move_blocks_within_a_file(scene: Scene) -> None:
    """The same extents and the same size, in another order."""
    path = scene.filled_file(2 * BLOCK)
    fd = scene.open(path)
    blocks = os.fstat(fd).st_size // BLOCK
    one, other = scene.rng.randrange(blocks), scene.rng.randrange(blocks)
    syscalls.clone_range(fd, one * BLOCK, fd, other * BLOCK, BLOCK)


@operation
def share_blocks_between_files(scene: Scene) -> None:
    source, target = scene.filled_file(BLOCK), scene.filled_file(BLOCK)
    fd = scene.open(target)
    syscalls.clone_range(fd, 0, scene.open(source, os.O_RDONLY), 0, BLOCK)


@operation
def dedupe_equal_files(scene: Scene) -> None:
    path = scene.filled_file(BLOCK)
    content = scene.read(path)
    copy = scene.fresh()
    scene.write(copy, content)
    source, target = scene.open(path), scene.open(copy)
    os.fsync(target)
    syscalls.dedupe(source, target, len(content) // BLOCK * BLOCK)


@operation
def dedupe_an_existing_file_with_a_copy_that_goes(scene: Scene) -> None:
    path = scene.filled_file(BLOCK)
    content = scene.read(path)
    copy = scene.fresh()
    scene.write(copy, content)
    source, target = scene.open(copy), scene.open(path)
    os.fsync(source)
    syscalls.dedupe(source, target, len(content) // BLOCK * BLOCK)
    os.unlink(scene.at(copy))


@operation
def defragment(scene: Scene) -> None:
    syscalls.defragment(scene.open(scene.filled_file()))


@operation
def defragment_with_compression(scene: Scene) -> None:
    kind = scene.rng.choice(("zlib", "lzo", "zstd"))
    syscalls.defragment(scene.open(scene.filled_file()), kind)


@operation
def write_fragmented_file(scene: Scene) -> None:
    fd = scene.open(scene.fresh(), os.O_RDWR | os.O_CREAT)
    for block in range(0, 24, 2):
        os.pwrite(fd, scene.rng.randbytes(BLOCK), block * BLOCK)
        os.fdatasync(fd)
    for block in range(1, 24, 2):
        os.pwrite(fd, scene.rng.randbytes(BLOCK), block * BLOCK)


@operation
def write_without_copy_on_write(scene: Scene) -> None:
    fd = scene.open(scene.fresh(), os.O_RDWR | os.O_CREAT)
    syscalls.set_flags(fd, syscalls.FS_NOCOW_FL)
    write_all(fd, scene.content())


@operation
def overwrite_one_block(scene: Scene) -> None:
    """In a NOCOW file that no snapshot shares, the extent stays where it is."""
    fd, offset, length = _range(scene)
    os.pwrite(fd, scene.rng.randbytes(length), offset)
    os.fsync(fd)


@operation
def set_the_compression_flag(scene: Scene) -> None:
    fd = scene.open(scene.file())
    syscalls.set_flags(fd, syscalls.get_flags(fd) ^ syscalls.FS_COMPR_FL)


@operation
def set_flags_that_are_no_difference(scene: Scene) -> None:
    fd = scene.open(scene.pick("file", "directory"), os.O_RDONLY)
    chosen = scene.rng.choice((syscalls.FS_NODUMP_FL, syscalls.FS_NOATIME_FL))
    syscalls.set_flags(fd, syscalls.get_flags(fd) ^ chosen)


@operation
def sync(scene: Scene) -> None:
    btrfsutil.sync(scene.root)


@costly_operation
def balance_metadata(scene: Scene) -> None:
    """Every leaf moves and gets a new generation, though nothing in it changed."""
    _balance(scene, "-mlimit=2")


@costly_operation
def balance_data(scene: Scene) -> None:
    _balance(scene, "-dlimit=1")


def _balance(scene: Scene, which: str) -> None:
    with suppress(subprocess.CalledProcessError):
        command = ["btrfs", "balance", "start", which, os.fsdecode(scene.root)]
        subprocess.run(command, check=True, capture_output=True)


def _range(scene: Scene) -> tuple[int, int, int]:
    """Open a file that isn't empty and choose a range in it, on block borders or not."""
    fd = scene.open(scene.filled_file())
    size = os.fstat(fd).st_size
    offset = scene.rng.randrange(size)
    length = scene.rng.randrange(1, size - offset + 1)
    if scene.rng.random() < 0.5:
        offset -= offset % BLOCK
        length = min(size - offset, max(length - length % BLOCK, BLOCK))
    return fd, offset, length
