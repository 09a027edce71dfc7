"""Operations on names and directories: making, moving, exchanging, deleting, making again."""

from __future__ import annotations

import os
import shutil
import stat
from contextlib import suppress

import syscalls
from scene import COLLIDING_NAMES, ODD_NAMES, NothingSuitableError, Scene

from operations.registry import costly_operation, operation

MOVABLE = ("file", "directory", "symlink", "special")


@operation
def make_directory(scene: Scene) -> None:
    os.mkdir(scene.at(scene.fresh()), scene.rng.choice((0o755, 0o700)))


@operation
def make_tree(scene: Scene) -> None:
    top = scene.fresh()
    os.mkdir(scene.at(top))
    for branch in (b"/one", b"/two", b"/one/deep"):
        os.mkdir(scene.at(top + branch))
        for leaf in range(scene.rng.randrange(3)):
            scene.write(top + branch + b"/leaf%d" % leaf, scene.content())


@operation
def make_names_of_any_bytes(scene: Scene) -> None:
    directory = scene.directory()
    for name in scene.rng.sample(ODD_NAMES, 3):
        scene.write(directory + b"/" + name, scene.content(10))


@operation
def make_colliding_names(scene: Scene) -> None:
    """Names of one hash share a DIR_ITEM."""
    directory = scene.directory()
    for name in scene.rng.sample(COLLIDING_NAMES, scene.rng.randrange(1, 5)):
        path = directory + b"/" + name
        if os.path.lexists(scene.at(path)):
            os.unlink(scene.at(path))
        else:
            scene.write(path, name)


@costly_operation
def make_path_beyond_path_max(scene: Scene) -> None:
    path = scene.fresh()
    for _ in range(18):
        os.mkdir(scene.at(path))
        path += b"/" + scene.rng.choice((b"d", b"\xc3")) * 240
    scene.write(path, b"at the end of a long path")


@costly_operation
def fill_a_directory(scene: Scene) -> None:
    """So many entries that a directory's items span leaves."""
    directory = scene.fresh()
    os.mkdir(scene.at(directory))
    for number in range(200):
        scene.write(directory + b"/entry-%03d" % number, b"")


@operation
def delete_every_other_entry(scene: Scene) -> None:
    directory = scene.at(scene.pick("directory"))
    for name in sorted(os.listdir(directory))[:: scene.rng.choice((1, 2, 3))]:
        with suppress(IsADirectoryError):
            os.unlink(directory + b"/" + name)


@operation
def rename(scene: Scene) -> None:
    path = scene.pick(*MOVABLE)
    os.rename(scene.at(path), scene.at(scene.fresh(path[: path.rindex(b"/")])))


@operation
def move_to_another_directory(scene: Scene) -> None:
    os.rename(scene.at(scene.pick(*MOVABLE)), scene.at(scene.fresh()))


@operation
def move_keeping_the_name(scene: Scene) -> None:
    path = scene.pick(*MOVABLE)
    target = scene.directory() + path[path.rindex(b"/") :]
    syscalls.renameat2(scene.at(path), scene.at(target), syscalls.RENAME_NOREPLACE)


@operation
def move_whole_tree(scene: Scene) -> None:
    path = scene.pick("directory")
    os.rename(scene.at(path), scene.at(scene.fresh()))


@operation
def rename_over_another(scene: Scene) -> None:
    os.rename(scene.at(scene.pick(*MOVABLE)), scene.at(scene.pick(*MOVABLE)))


@operation
def exchange_two_names(scene: Scene) -> None:
    one, other = scene.pick(*MOVABLE), scene.pick(*MOVABLE)
    syscalls.renameat2(scene.at(one), scene.at(other), syscalls.RENAME_EXCHANGE)


@operation
def exchange_two_directories(scene: Scene) -> None:
    one, other = scene.pick("directory"), scene.pick("directory")
    syscalls.renameat2(scene.at(one), scene.at(other), syscalls.RENAME_EXCHANGE)


@operation
def rename_leaving_a_whiteout(scene: Scene) -> None:
    path = scene.pick("file", "symlink")
    target = scene.fresh(path[: path.rindex(b"/")])
    syscalls.renameat2(scene.at(path), scene.at(target), syscalls.RENAME_WHITEOUT)


@operation
def rename_and_back(scene: Scene) -> None:
    path = scene.pick(*MOVABLE)
    other = scene.fresh()
    os.rename(scene.at(path), scene.at(other))
    os.rename(scene.at(other), scene.at(path))


@operation
def rename_in_a_circle(scene: Scene) -> None:
    chosen = sorted({scene.file() for _ in range(3)})
    spare = scene.fresh()
    for old, new in zip([*chosen, spare], [spare, *chosen], strict=True):
        os.rename(scene.at(old), scene.at(new))


@operation
def rename_and_put_another_in_its_place(scene: Scene) -> None:
    path = scene.pick("file", "directory")
    was_directory = os.path.isdir(scene.at(path))
    os.rename(scene.at(path), scene.at(scene.fresh()))
    if was_directory:
        os.mkdir(scene.at(path))
        scene.write(path + b"/new", scene.content())
    else:
        scene.write(path, scene.content())


@operation
def move_everything_out_and_delete_the_directory(scene: Scene) -> None:
    path = scene.pick("directory")
    parent = path[: path.rindex(b"/")]
    for name in sorted(os.listdir(scene.at(path))):
        os.rename(scene.at(path + b"/" + name), scene.at(parent + b"/moved-" + name[:200]))
    os.rmdir(scene.at(path))


@operation
def put_a_directory_above(scene: Scene) -> None:
    """The entry goes one level down, under a new directory of its own old name."""
    path = scene.pick(*MOVABLE)
    spare = scene.fresh()
    os.rename(scene.at(path), scene.at(spare))
    os.mkdir(scene.at(path))
    os.rename(scene.at(spare), scene.at(path + path[path.rindex(b"/") :]))


@operation
def delete(scene: Scene) -> None:
    os.unlink(scene.at(scene.pick("file", "symlink", "special")))


@operation
def delete_empty_directory(scene: Scene) -> None:
    empty = [
        path for path, _ in scene.entries("directory", "stub") if not os.listdir(scene.at(path))
    ]
    if not empty:
        raise NothingSuitableError
    path = scene.rng.choice(empty)
    scene.log.append(path)
    os.rmdir(scene.at(path))


@operation
def delete_tree(scene: Scene) -> None:
    if scene.rng.random() < 0.5:
        shutil.rmtree(scene.at(scene.pick("directory")), ignore_errors=True)


@operation
def delete_and_make_equal_again(scene: Scene) -> None:
    path = scene.file()
    content = scene.read(path)
    before = os.stat(scene.at(path))
    os.unlink(scene.at(path))
    scene.write(path, content)
    os.chmod(scene.at(path), stat.S_IMODE(before.st_mode))
    os.utime(scene.at(path), ns=(before.st_atime_ns, before.st_mtime_ns))


@operation
def delete_and_make_other(scene: Scene) -> None:
    path = scene.file()
    os.unlink(scene.at(path))
    scene.write(path, scene.content())


@operation
def make_directory_again(scene: Scene) -> None:
    """The same names under a new directory: copied, and the old one deleted."""
    path = scene.pick("directory")
    spare = scene.fresh(path[: path.rindex(b"/")])
    old, new = os.fsdecode(scene.at(path)), os.fsdecode(scene.at(spare))
    # Copying would open a device and wait for a fifo's writer.
    shutil.copytree(old, new, symlinks=True, ignore=_specials)
    shutil.rmtree(scene.at(path))
    os.rename(scene.at(spare), scene.at(path))


@operation
def make_directory_again_with_the_old_entries(scene: Scene) -> None:
    path = scene.pick("directory")
    spare = scene.fresh()
    os.rename(scene.at(path), scene.at(spare))
    os.mkdir(scene.at(path))
    for name in sorted(os.listdir(scene.at(spare))):
        os.rename(scene.at(spare + b"/" + name), scene.at(path + b"/" + name))
    os.rmdir(scene.at(spare))


@operation
def change_type(scene: Scene) -> None:
    path = scene.pick(*MOVABLE)
    kind = scene.rng.choice(("file", "directory", "symlink", "fifo"))
    scene.log.append(kind.encode())
    at = scene.at(path)
    if os.path.isdir(at) and not os.path.islink(at):
        if kind == "directory":
            raise NothingSuitableError
        shutil.rmtree(at)
    else:
        os.unlink(at)
    if kind == "file":
        scene.write(path, scene.content())
    elif kind == "directory":
        os.mkdir(at)
        scene.write(path + b"/inside", scene.content())
    elif kind == "symlink":
        os.symlink(b"target", at)
    else:
        os.mkfifo(at)


@operation
def change_type_and_back(scene: Scene) -> None:
    path = scene.file()
    at = scene.at(path)
    spare = scene.at(scene.fresh())
    os.rename(at, spare)
    os.mkdir(at)
    os.rmdir(at)
    os.rename(spare, at)


@operation
def make_and_delete(scene: Scene) -> None:
    path = scene.fresh()
    scene.write(path, scene.content())
    if scene.rng.random() < 0.3:
        os.fsync(scene.open(path))
    os.unlink(scene.at(path))


def _specials(directory: str, names: list[str]) -> list[str]:
    modes = {name: os.lstat(f"{directory}/{name}").st_mode for name in names}
    plain = (stat.S_ISREG, stat.S_ISDIR, stat.S_ISLNK)
    return [name for name, mode in modes.items() if not any(test(mode) for test in plain)]
