"""Write planned trees and changes to disk."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

from bench.plan import LARGEST, Act

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.plan import Change, Entry, Plan

# Every file's bytes are a stretch of this; its seed says where it begins.
_SPARE = 1 << 22
_noise = b""
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_PROCESSES = 2


def write_tree(root: Path, plan: Plan) -> None:
    """Make all that `plan` holds below the existing directory `root`."""
    _make_noise()
    top = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for directory in plan.directories:
            os.mkdir(directory.path, directory.mode, dir_fd=top)
            if directory.uid or directory.gid:
                os.chown(directory.path, directory.uid, directory.gid, dir_fd=top)
        originals = [entry for entry in plan.entries if not entry.origin]
        share = -(-len(originals) // _PROCESSES)
        _in_processes(
            [originals[start : start + share] for start in range(0, len(originals), share)], top
        )
        for entry in plan.entries:
            if entry.origin:
                os.link(entry.origin, entry.path, src_dir_fd=top, dst_dir_fd=top)
    finally:
        os.close(top)


def apply_changes(root: Path, changes: Sequence[Change]) -> None:
    _make_noise()
    before = os.getcwd()
    os.chdir(root)
    try:
        for change in changes:
            _apply(change)
    finally:
        os.chdir(before)


def content(seed: int, size: int) -> memoryview:
    """The bytes of a file: the same for the same seed, other for another one."""
    _make_noise()
    start = seed * 2654435761 % _SPARE
    return memoryview(_noise)[start : start + size]


def _make_noise() -> None:
    global _noise
    if not _noise:
        _noise = random.Random(0).randbytes(LARGEST + _SPARE)


def _in_processes(parts: Sequence[Sequence[Entry]], top: int) -> None:
    children = []
    for part in parts:
        child = os.fork()
        if not child:
            code = 1
            try:
                _write_entries(part, top)
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    codes = [os.waitpid(child, 0)[1] for child in children]
    if any(codes):
        raise RuntimeError("the tree could not be written; is the disk full?")


def _write_entries(entries: Sequence[Entry], top: int) -> None:
    os.umask(0)
    for entry in entries:
        path = entry.path
        if entry.target:
            os.symlink(entry.target, path, dir_fd=top)
            if entry.uid or entry.gid:
                os.chown(path, entry.uid, entry.gid, dir_fd=top, follow_symlinks=False)
            continue
        fd = os.open(path, _CREATE, entry.mode, dir_fd=top)
        if entry.uid or entry.gid:
            os.fchown(fd, entry.uid, entry.gid)
        if entry.size:
            os.write(fd, content(entry.seed, entry.size))
        if entry.xattr:
            os.setxattr(fd, "user.comment", b"set by the one who made it %d" % entry.seed)
        os.close(fd)


def _apply(change: Change) -> None:
    path, size, seed = change.path, change.size, change.seed
    match change.act:
        case Act.APPEND:
            _write(path, os.O_APPEND, content(seed, 100))
        case Act.OVERWRITE | Act.REWRITE:
            _write(path, 0, content(seed, size))
        case Act.HIDE:
            found = os.stat(path)
            _write(path, 0, content(seed, size))
            os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
        case Act.REPLACE:
            found = os.stat(path)
            _write(f"{path}~", os.O_CREAT, content(seed, size + 10))
            os.chmod(f"{path}~", found.st_mode & 0o7777)
            os.chown(f"{path}~", found.st_uid, found.st_gid)
            os.rename(f"{path}~", path)
        case Act.TOUCH:
            os.utime(path)
        case Act.CREATE:
            _write(path, os.O_CREAT | os.O_EXCL, content(seed, size))
        case Act.DELETE:
            os.unlink(path)
        case Act.RENAME | Act.RENAME_DIRECTORY:
            os.rename(path, change.new)
        case Act.CHMOD:
            os.chmod(path, 0o4711)
        case Act.CHOWN:
            os.chown(path, 12345, 12345)
        case Act.XATTR:
            os.setxattr(path, "user.changed", b"%d" % seed)
        case Act.LINK:
            os.link(path, change.new)
        case Act.RETARGET | Act.TYPE:
            os.unlink(path)
            os.symlink(f"/nix/store/other{seed}", path)
        case Act.CREATE_DIRECTORY:
            os.mkdir(path)
        case Act.DELETE_DIRECTORY:
            for name in os.listdir(path):
                os.unlink(f"{path}/{name}")
            os.rmdir(path)
        case Act.CHMOD_DIRECTORY:
            os.chmod(path, 0o2711)


def _write(path: str, flags: int, data: memoryview) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | flags, 0o644)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)
