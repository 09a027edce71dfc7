"""Operations on hard links, symlinks, fifos, sockets and devices."""

from __future__ import annotations

import os
import stat

from scene import NothingSuitableError, Scene

from operations.registry import costly_operation, operation

DEVICES = ((1, 3), (1, 5), (0, 0), (4095, 1048575), (259, 300))


@operation
def link(scene: Scene) -> None:
    source = scene.pick("file", "symlink", "special")
    os.link(scene.at(source), scene.at(scene.fresh()), follow_symlinks=False)


@operation
def link_in_the_same_directory(scene: Scene) -> None:
    source = scene.file()
    target = scene.fresh(source[: source.rindex(b"/")])
    os.link(scene.at(source), scene.at(target), follow_symlinks=False)


@costly_operation
def link_until_refs_overflow(scene: Scene) -> None:
    """More names in one directory than an INODE_REF holds: the rest are INODE_EXTREFs."""
    source = scene.file()
    directory = source[: source.rindex(b"/")]
    for number in range(max(40, scene.nodesize // 200)):
        name = (b"%03d-" % number).ljust(240, b"l")
        os.link(scene.at(source), scene.at(directory + b"/" + name))


@operation
def unlink_one_of_several(scene: Scene) -> None:
    os.unlink(scene.at(_linked(scene)))


@operation
def rename_one_of_several(scene: Scene) -> None:
    os.rename(scene.at(_linked(scene)), scene.at(scene.fresh()))


@operation
def make_one_of_several_a_file_of_its_own(scene: Scene) -> None:
    path = _linked(scene)
    content = scene.read(path)
    os.unlink(scene.at(path))
    scene.write(path, content)


@operation
def rename_onto_own_link(scene: Scene) -> None:
    """POSIX: nothing happens where both names are one file."""
    path = _linked(scene)
    other = scene.fresh()
    os.link(scene.at(path), scene.at(other), follow_symlinks=False)
    os.rename(scene.at(path), scene.at(other))


@operation
def join_equal_files_by_a_link(scene: Scene) -> None:
    path = scene.file()
    copy = scene.fresh()
    os.link(scene.at(path), scene.at(copy))
    target = scene.file()
    if target not in (path, copy):
        os.rename(scene.at(copy), scene.at(target))


@operation
def symlink(scene: Scene) -> None:
    targets = (b"/nix/store/abc", b"../x", b"loop", b"dangling\n\xff", b"t" * 300, b"t" * 3500)
    os.symlink(scene.rng.choice(targets), scene.at(scene.fresh()))


@operation
def point_a_symlink_elsewhere(scene: Scene) -> None:
    path = scene.pick("symlink")
    old = os.readlink(scene.at(path))
    os.unlink(scene.at(path))
    # Of the same length: only the bytes tell.
    os.symlink(bytes([old[0] ^ 1]) + old[1:], scene.at(path))


@operation
def make_same_symlink_again(scene: Scene) -> None:
    path = scene.pick("symlink")
    target = os.readlink(scene.at(path))
    os.symlink(target, scene.at(path + b".new"))
    os.rename(scene.at(path + b".new"), scene.at(path))


@operation
def make_fifo(scene: Scene) -> None:
    os.mkfifo(scene.at(scene.fresh()))


@operation
def make_socket(scene: Scene) -> None:
    os.mknod(scene.at(scene.fresh()), stat.S_IFSOCK | 0o600)


@operation
def make_device(scene: Scene) -> None:
    kind = scene.rng.choice((stat.S_IFCHR, stat.S_IFBLK))
    os.mknod(scene.at(scene.fresh()), kind | 0o600, os.makedev(*scene.rng.choice(DEVICES)))


@operation
def change_a_device_number(scene: Scene) -> None:
    path = scene.pick("special")
    at = scene.at(path)
    mode = os.lstat(at).st_mode
    if not (stat.S_ISCHR(mode) or stat.S_ISBLK(mode)):
        raise NothingSuitableError
    os.unlink(at)
    os.mknod(at, mode, os.makedev(*scene.rng.choice(DEVICES)))


@operation
def exchange_character_for_block(scene: Scene) -> None:
    at = scene.at(scene.pick("special"))
    status = os.lstat(at)
    swapped = {stat.S_IFCHR: stat.S_IFBLK, stat.S_IFBLK: stat.S_IFCHR}
    kind = swapped.get(stat.S_IFMT(status.st_mode))
    if kind is None:
        raise NothingSuitableError
    os.unlink(at)
    os.mknod(at, kind | stat.S_IMODE(status.st_mode), status.st_rdev)


def _linked(scene: Scene) -> bytes:
    """Pick a name of a file that has more than one."""
    found = [
        path
        for path, _ in scene.entries("file", "symlink", "special")
        if os.lstat(scene.at(path)).st_nlink > 1
    ]
    if not found:
        raise NothingSuitableError
    path = scene.rng.choice(found)
    scene.log.append(path)
    return path
