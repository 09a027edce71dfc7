"""Operations on subvolumes inside of the tree."""

from __future__ import annotations

import os
import shutil

import btrfsutil
from scene import NothingSuitableError, Scene

from operations.registry import costly_operation, operation


@operation
def make_nested_subvolume(scene: Scene) -> None:
    path = scene.fresh()
    btrfsutil.create_subvolume(scene.at(path))
    if scene.rng.random() < 0.7:
        scene.write(path + b"/data", scene.content())
    if scene.rng.random() < 0.3:
        btrfsutil.create_subvolume(scene.at(path + b"/deeper"))
        scene.write(path + b"/deeper/data", scene.content())


@costly_operation
def snapshot_the_root_inside_itself(scene: Scene) -> None:
    _not_crowded(scene)
    readonly = scene.rng.random() < 0.5
    btrfsutil.create_snapshot(scene.root, scene.at(scene.fresh()), read_only=readonly)


@operation
def snapshot_a_nested_subvolume(scene: Scene) -> None:
    _not_crowded(scene)
    source = scene.at(scene.pick("subvolume"))
    btrfsutil.create_snapshot(source, scene.at(scene.fresh()))


@operation
def delete_nested_subvolume(scene: Scene) -> None:
    btrfsutil.delete_subvolume(scene.at(scene.pick("subvolume")))


@operation
def rename_nested_subvolume(scene: Scene) -> None:
    os.rename(scene.at(scene.pick("subvolume")), scene.at(scene.fresh()))


@operation
def make_nested_subvolume_readonly(scene: Scene) -> None:
    path = scene.at(scene.pick("subvolume"))
    btrfsutil.set_subvolume_read_only(path, scene.rng.random() < 0.8)


@operation
def replace_a_directory_by_a_subvolume(scene: Scene) -> None:
    path = scene.pick("directory")
    spare = scene.at(scene.fresh())
    os.rename(scene.at(path), spare)
    btrfsutil.create_subvolume(scene.at(path))
    for name in sorted(os.listdir(spare)):
        if os.path.isfile(spare + b"/" + name):
            shutil.copy2(spare + b"/" + name, scene.at(path) + b"/" + name, follow_symlinks=False)
    shutil.rmtree(spare, ignore_errors=True)


@operation
def replace_a_subvolume_by_a_directory(scene: Scene) -> None:
    path = scene.pick("subvolume", "stub")
    at = scene.at(path)
    if os.lstat(at).st_ino == 256:
        btrfsutil.delete_subvolume(at)
    else:
        os.rmdir(at)
    os.mkdir(at)
    scene.write(path + b"/file", scene.content())


@operation
def delete_stub(scene: Scene) -> None:
    os.rmdir(scene.at(scene.pick("stub")))


@operation
def move_a_file_between_subvolumes(scene: Scene) -> None:
    """rename() can't: it is copied and deleted, as mv does."""
    nested = scene.pick("subvolume")
    source = scene.file()
    shutil.copy2(scene.at(source), scene.at(scene.fresh(nested)), follow_symlinks=False)
    os.unlink(scene.at(source))


def _not_crowded(scene: Scene) -> None:
    if scene.is_crowded():
        raise NothingSuitableError
