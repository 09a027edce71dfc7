"""Operations on the bytes of files: new, other and the same ones, by every way of writing."""

from __future__ import annotations

import mmap
import os
import stat

import syscalls
from scene import Scene, write_all

from operations.registry import operation


@operation
def write_new_file(scene: Scene) -> None:
    scene.write(scene.fresh(), scene.content())


@operation
def write_new_empty_file(scene: Scene) -> None:
    scene.write(scene.fresh(), b"")


@operation
def write_other_content(scene: Scene) -> None:
    scene.write(scene.file(), scene.content())


@operation
def write_same_bytes_in_place(scene: Scene) -> None:
    path = scene.filled_file()
    content = scene.read(path)
    os.pwrite(scene.open(path), content, 0)


@operation
def write_same_bytes_after_truncation(scene: Scene) -> None:
    path = scene.file()
    scene.write(path, scene.read(path))


@operation
def write_same_size_other_bytes(scene: Scene) -> None:
    path = scene.filled_file()
    size = os.stat(scene.at(path)).st_size
    os.pwrite(scene.open(path), scene.rng.randbytes(size), 0)


@operation
def flip_one_byte_and_keep_the_times(scene: Scene) -> None:
    path = scene.filled_file()
    before = os.stat(scene.at(path))
    at = scene.rng.randrange(before.st_size)
    fd = scene.open(path)
    (byte,) = os.pread(fd, 1, at)
    os.pwrite(fd, bytes([byte ^ 1]), at)
    os.utime(fd, ns=(before.st_atime_ns, before.st_mtime_ns))


@operation
def flip_a_byte_and_flip_it_back(scene: Scene) -> None:
    path = scene.filled_file()
    fd = scene.open(path)
    at = scene.rng.randrange(os.fstat(fd).st_size)
    (byte,) = os.pread(fd, 1, at)
    os.pwrite(fd, bytes([byte ^ 255]), at)
    if scene.rng.random() < 0.5:
        os.fsync(fd)
    os.pwrite(fd, bytes([byte]), at)


@operation
def append(scene: Scene) -> None:
    write_all(scene.open(scene.file(), os.O_WRONLY | os.O_APPEND), scene.content())


@operation
def truncate_shorter(scene: Scene) -> None:
    path = scene.filled_file()
    size = os.stat(scene.at(path)).st_size
    os.truncate(scene.at(path), scene.rng.randrange(size))


@operation
def truncate_to_nothing(scene: Scene) -> None:
    os.truncate(scene.at(scene.filled_file()), 0)


@operation
def truncate_and_write_the_end_again(scene: Scene) -> None:
    path = scene.filled_file()
    content = scene.read(path)
    size = scene.rng.randrange(len(content))
    fd = scene.open(path)
    os.ftruncate(fd, size)
    os.pwrite(fd, content[size:], size)


@operation
def write_beyond_the_end(scene: Scene) -> None:
    path = scene.file()
    size = os.stat(scene.at(path)).st_size
    os.pwrite(scene.open(path), b"far", size + scene.rng.choice((1, 4096, 50_000, 1 << 20)))


@operation
def replace_atomically_by_other_content(scene: Scene) -> None:
    path = scene.file()
    scene.write(path[: path.rindex(b"/")] + b"/.new", scene.content())
    os.rename(scene.at(path[: path.rindex(b"/")] + b"/.new"), scene.at(path))


@operation
def replace_atomically_by_same_content(scene: Scene) -> None:
    path = scene.file()
    temporary = path[: path.rindex(b"/")] + b"/.new"
    before = os.stat(scene.at(path))
    scene.write(temporary, scene.read(path))
    os.chown(scene.at(temporary), before.st_uid, before.st_gid)
    os.chmod(scene.at(temporary), stat.S_IMODE(before.st_mode))
    os.rename(scene.at(temporary), scene.at(path))


@operation
def replace_by_an_equal_file_with_equal_times(scene: Scene) -> None:
    path = scene.file()
    temporary = path[: path.rindex(b"/")] + b"/.new"
    before = os.stat(scene.at(path))
    content = bytearray(scene.read(path))
    if content and scene.rng.random() < 0.5:
        content[scene.rng.randrange(len(content))] ^= 1
    scene.write(temporary, bytes(content))
    os.chmod(scene.at(temporary), stat.S_IMODE(before.st_mode))
    os.utime(scene.at(temporary), ns=(before.st_atime_ns, before.st_mtime_ns))
    os.rename(scene.at(temporary), scene.at(path))


@operation
def write_through_a_mapping(scene: Scene) -> None:
    path = scene.filled_file()
    fd = scene.open(path)
    with mmap.mmap(fd, 0) as mapping:
        at = scene.rng.randrange(len(mapping))
        mapping[at : at + 1] = scene.rng.randbytes(1)
        if scene.rng.random() < 0.5:
            mapping.flush()


@operation
def write_and_fsync(scene: Scene) -> None:
    fd = scene.open(scene.fresh(), os.O_WRONLY | os.O_CREAT)
    write_all(fd, scene.content())
    os.fsync(fd)


@operation
def append_and_fsync(scene: Scene) -> None:
    fd = scene.open(scene.file(), os.O_WRONLY | os.O_APPEND)
    write_all(fd, scene.content(scene.rng.randrange(1, 9000)))
    os.fdatasync(fd)


@operation
def link_an_unnamed_file(scene: Scene) -> None:
    directory = scene.directory()
    fd = scene.open(directory or b"/", os.O_WRONLY | os.O_TMPFILE)
    write_all(fd, scene.content())
    syscalls.link_descriptor(fd, scene.at(scene.fresh(directory)))


@operation
def keep_an_unnamed_file_open(scene: Scene) -> None:
    directory = scene.directory()
    fd = os.open(scene.at(directory or b"/"), os.O_WRONLY | os.O_TMPFILE, 0o600)
    scene.held.append(fd)
    write_all(fd, scene.content())


@operation
def unlink_a_file_that_stays_open(scene: Scene) -> None:
    path = scene.file()
    fd = os.open(scene.at(path), os.O_RDWR)
    scene.held.append(fd)
    os.unlink(scene.at(path))
    write_all(fd, b"more")


@operation
def touch(scene: Scene) -> None:
    os.utime(scene.at(scene.pick()), follow_symlinks=False)


@operation
def set_times_back(scene: Scene) -> None:
    times = (scene.rng.randrange(10**18), scene.rng.choice((0, 1, 10**9, 999_999_999_999)))
    os.utime(scene.at(scene.pick()), ns=times, follow_symlinks=False)


@operation
def read_everything(scene: Scene) -> None:
    """Reading moves the access times, and with them the inodes' transids."""
    for path, kind in scene.entries("file", "directory", "symlink")[:30]:
        if kind == "file":
            with open(scene.at(path), "rb") as file:
                file.read(1)
        elif kind == "directory":
            os.listdir(scene.at(path))
        else:
            os.readlink(scene.at(path))
