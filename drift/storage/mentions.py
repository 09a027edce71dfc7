"""Find the paths of a store that the configuration names, beside those that it persists."""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING

from drift.names import shown
from drift.system.etc_trees import CURRENT, NEXT, find_etc_trees
from drift.system.home_manager import read_home_links
from drift.system.mounts import relative, within

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from drift.system.rooted import Rooted

# What names paths is small; certificates and time zones are not read to their end.
_MAX_BYTES = 1 << 20
_MAX_FILES = 20_000

# A program's own file of settings, which a unit or the activation script hands to it.
_SETTINGS = re.compile(
    rb"/nix/store/[0-9a-z]{32}-[\w.+?=@-]*"
    rb"(?:unit-script-[\w.+?=@/-]+|\.(?:json|conf|config|cfg|ini|ya?ml|toml|sh)\b)"
)


def read_mentions(
    rooted: Rooted, store: bytes, configs: Iterable[bytes] = ()
) -> tuple[dict[bytes, str], dict[bytes, str]]:
    """Paths from the top of `store`, each with what names it: for the next boot, and until then.

    Read are the files of /etc as the configuration has them, units, what activation does, the
    settings that these hand on, and the .nix files `configs`. What can't be read names nothing.
    """
    trees = find_etc_trees(rooted)
    pattern = _pattern(store)
    upcoming = _named(_texts(rooted, NEXT, trees.upcoming), pattern)
    if trees.upcoming is None or trees.upcoming == trees.running:
        upcoming |= _named(_texts(rooted, CURRENT, None), pattern)
    upcoming |= _named(_configs(configs), pattern)
    if trees.running is None or trees.running == trees.upcoming:
        return upcoming, {}
    running = _named(_texts(rooted, CURRENT, trees.running), pattern)
    return upcoming, {path: by for path, by in running.items() if path not in upcoming}


def read_home_mentions(rooted: Rooted, store: bytes) -> dict[bytes, str]:
    """Paths from the top of `store`, free of links itself, that home-manager's links lead to."""
    found: dict[bytes, str] = {}
    for path, is_directory in read_home_links(rooted, find_etc_trees(rooted).all):
        if is_directory:
            continue
        try:
            real = rooted.resolve(path)
        except OSError:
            continue
        if within(real, store) and real != store:
            found.setdefault(relative(real, store), f"home-manager's link {shown(path)}")
    return found


def _pattern(store: bytes) -> re.Pattern[bytes]:
    name = re.escape(store)
    # In quotes a path may hold spaces; elsewhere it ends where a shell's word would.
    return re.compile(
        rb'(?<![\w.-])(?:"' + name + rb'(/[^"\n\\$]+)"'
        rb"|" + name + rb"(/[^\s\0\"'`;:,|&<>(){}\[\]\\$*?=]+))"
    )


def _named(texts: Iterable[tuple[str, bytes]], pattern: re.Pattern[bytes]) -> dict[bytes, str]:
    found: dict[bytes, str] = {}
    for by, text in texts:
        for match in pattern.finditer(text):
            path = os.path.normpath(match[1] or match[2]).replace(b"//", b"/")
            if path != b"/" and b"\0" not in path:
                found.setdefault(path, by)
    return found


def _texts(rooted: Rooted, system: bytes, tree: bytes | None) -> Iterator[tuple[str, bytes]]:
    """The texts of a system and of its tree of /etc files, each with a name for people."""
    settings: dict[bytes, None] = {}
    for by, path in _files(rooted, system, tree):
        text = _read(rooted, path)
        yield by, text
        settings.update((found[0], None) for found in _SETTINGS.finditer(text))
    for path in settings:
        # /nix/store/HASH-name
        yield shown(path.split(b"/")[3][33:]), _read(rooted, path)


def _files(rooted: Rooted, system: bytes, tree: bytes | None) -> Iterator[tuple[str, bytes]]:
    yield "the activation script", system + b"/activate"
    if tree is None:
        yield "/etc/fstab", b"/etc/fstab"
        return
    waiting, seen, count = [tree], {tree}, 0
    while waiting:
        top = waiting.pop()
        for path, found in rooted.walk(top):
            if stat.S_ISDIR(found.st_mode):
                continue
            count += 1
            if count > _MAX_FILES:
                return
            real = _directory(rooted, path) if stat.S_ISLNK(found.st_mode) else None
            if real is None:
                inside = path[len(tree) :] if path.startswith(tree) else path[path.rfind(b"/") :]
                yield shown(b"/etc" + inside if top == tree else inside[1:]), path
            elif real not in seen:
                seen.add(real)
                waiting.append(real)


def _directory(rooted: Rooted, path: bytes) -> bytes | None:
    try:
        real = rooted.resolve(path)
        return real if stat.S_ISDIR(rooted.status(real).st_mode) else None
    except OSError:
        return None


def _read(rooted: Rooted, path: bytes) -> bytes:
    try:
        real = rooted.resolve(path)
        if rooted.status(real).st_size > _MAX_BYTES:
            return b""
        return rooted.read(real)
    except OSError:
        return b""


def _configs(names: Iterable[bytes]) -> Iterator[tuple[str, bytes]]:
    for name in names:
        if os.path.isfile(name):
            with open(name, "rb") as file:
                yield shown(name), file.read(_MAX_BYTES)


def held_until_boot(running: Mapping[bytes, str]) -> dict[bytes, str]:
    """What is the matter with each path that only the running system names."""
    return {
        path: f"is named by the running system ({by}), though not by the next one"
        for path, by in running.items()
    }
