"""Operations on modes, owners and extended attributes."""

from __future__ import annotations

import os
import stat
import struct

from scene import COLLIDING_NAMES, NothingSuitableError, Scene

from operations.registry import operation

MODES = (0o000, 0o400, 0o600, 0o640, 0o644, 0o700, 0o755, 0o1777, 0o2755, 0o4755, 0o7777)
IDS = (0, 1, 1000, 65534, 2**31, 2**32 - 2)


@operation
def change_mode(scene: Scene) -> None:
    os.chmod(scene.at(_no_link(scene)), scene.rng.choice(MODES))


@operation
def change_mode_and_back(scene: Scene) -> None:
    path = scene.at(_no_link(scene))
    mode = stat.S_IMODE(os.lstat(path).st_mode)
    os.chmod(path, mode ^ 0o111)
    os.chmod(path, mode)


@operation
def change_owner(scene: Scene) -> None:
    path = scene.at(scene.pick())
    os.chown(path, scene.rng.choice((*IDS, -1)), scene.rng.choice(IDS), follow_symlinks=False)


@operation
def change_owner_and_back(scene: Scene) -> None:
    path = scene.at(scene.pick())
    before = os.lstat(path)
    os.chown(path, 4711, 4712, follow_symlinks=False)
    os.chown(path, before.st_uid, before.st_gid, follow_symlinks=False)


@operation
def change_the_root(scene: Scene) -> None:
    change = scene.rng.choice(("mode", "owner", "xattr", "times"))
    scene.log.append(change.encode())
    if change == "mode":
        os.chmod(scene.root, scene.rng.choice((0o755, 0o700)))
    elif change == "owner":
        os.chown(scene.root, scene.rng.choice((0, 5)), 0)
    elif change == "xattr":
        os.setxattr(scene.root, "user.root", scene.rng.choice((b"a", b"b")))
    else:
        os.utime(scene.root)


@operation
def set_xattr(scene: Scene) -> None:
    name = scene.rng.choice(("user.one", "user.two", "trusted.three", "security.four"))
    size = scene.rng.choice((0, 1, 30, 3000))
    os.setxattr(scene.at(_no_link(scene)), name, scene.content(size))


@operation
def set_xattr_of_a_symlink(scene: Scene) -> None:
    path = scene.at(scene.pick("symlink"))
    os.setxattr(path, "trusted.link", scene.content(9), follow_symlinks=False)


@operation
def set_same_xattr_again(scene: Scene) -> None:
    path, name = _attribute(scene)
    value = os.getxattr(path, name, follow_symlinks=False)
    os.removexattr(path, name, follow_symlinks=False)
    os.setxattr(path, name, value, follow_symlinks=False)


@operation
def change_xattr_keeping_its_size(scene: Scene) -> None:
    path, name = _attribute(scene)
    value = os.getxattr(path, name, follow_symlinks=False)
    os.setxattr(path, name, scene.rng.randbytes(len(value)), follow_symlinks=False)


@operation
def remove_xattr(scene: Scene) -> None:
    path, name = _attribute(scene)
    os.removexattr(path, name, follow_symlinks=False)


@operation
def set_and_remove_xattr(scene: Scene) -> None:
    path = scene.at(_no_link(scene))
    os.setxattr(path, "user.passing", b"by")
    os.removexattr(path, "user.passing")


@operation
def set_colliding_xattrs(scene: Scene) -> None:
    """Names of one hash share an item: its payload holds several attributes."""
    path = scene.at(_no_link(scene))
    for name in scene.rng.sample(COLLIDING_NAMES, scene.rng.randrange(1, 5)):
        os.setxattr(path, b"user." + name, scene.content(5))


@operation
def set_access_acl(scene: Scene) -> None:
    """Besides the attribute, the kernel sets the mode's group bits to the mask."""
    path = scene.at(_no_link(scene))
    os.setxattr(path, "system.posix_acl_access", _acl(scene))


@operation
def set_default_acl(scene: Scene) -> None:
    """What is made in the directory from then on inherits it."""
    path = scene.at(scene.pick("directory"))
    os.setxattr(path, "system.posix_acl_default", _acl(scene))


@operation
def set_capability(scene: Scene) -> None:
    """struct vfs_cap_data of revision 2: one permitted capability."""
    bit = 1 << scene.rng.randrange(30)
    value = struct.pack("<IIIII", 0x02000001, bit, 0, 0, 0)
    os.setxattr(scene.at(scene.file()), "security.capability", value)


@operation
def set_compression_property(scene: Scene) -> None:
    path = scene.at(scene.pick("file", "directory"))
    os.setxattr(path, "btrfs.compression", scene.rng.choice((b"zstd", b"zlib", b"lzo")))


def _no_link(scene: Scene) -> bytes:
    return scene.pick("file", "directory", "subvolume", "special", "stub")


def _attribute(scene: Scene) -> tuple[bytes, str]:
    found = [
        (entry.path, name)
        for entry in scene.entries("file", "directory", "symlink")
        for name in sorted(os.listxattr(scene.at(entry.path), follow_symlinks=False))
    ]
    if not found:
        raise NothingSuitableError
    path, name = scene.rng.choice(found)
    scene.log += [path, name.encode(errors="surrogateescape")]
    return scene.at(path), name


def _acl(scene: Scene) -> bytes:
    """Lay out a version 2 ACL of linux/posix_acl_xattr.h that names one user."""
    undefined = 2**32 - 1
    user_obj, user, group_obj, mask, other = 1, 2, 4, 16, 32
    permissions = scene.rng.randrange(8)
    entries = (
        (user_obj, 7, undefined),
        (user, permissions, 1000),
        (group_obj, 5, undefined),
        (mask, permissions | 4, undefined),
        (other, 0, undefined),
    )
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
