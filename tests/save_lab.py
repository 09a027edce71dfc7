"""Run the copy machine on plain directories, and look at what it left."""

from __future__ import annotations

import os
from contextlib import contextmanager

from tree_reader import read_tree

from drift.save import save
from drift.saving.manifest import Origin
from drift.saving.plan import make_plan
from drift.saving.source import Tree
from drift.saving.store import open_store

NOW = 1_700_000_000 * 10**9
ORIGIN = Origin(b"\x01" * 16, "boot")


@contextmanager
def opened_tree(path):
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield Tree(fd)
    finally:
        os.close(fd)


def run_save(live, store, paths, *, replace=False, shared=False, tree=None):
    """Plan and save; return what became of each path."""
    with opened_tree(live) as plain, open_store(os.fsencode(store), b"/persist") as opened:
        source = tree or plain
        plan = make_plan(source, opened.tree, paths, shared=shared, replace=replace)
        return save(plan, source, opened, ORIGIN, now=NOW)


def actions(items):
    return {item.path: str(item.action) for item in items}


def whole(path):
    """All of a tree as it can be compared between filesystems: no identity, no directory sizes."""
    return {
        name: (
            "directory" if node.kind == "subvolume" else node.kind,
            node.size if node.kind == "file" else None,
            node.mode if node.kind != "symlink" else None,
            node.uid,
            node.gid,
            node.mtime,
            node.content,
            sorted(item for item in node.xattrs.items() if not item[0].startswith(b"btrfs.")),
        )
        for name, node in read_tree(os.fsencode(path)).items()
    }


def untimed(tree):
    """The same without times, for directories that saving writes into."""
    return {name: (*node[:5], *node[6:]) for name, node in tree.items()}


def temporaries(store):
    """What a save would have to clean up, anywhere in the store."""
    return sorted(
        os.path.join(directory, name)
        for directory, directories, files in os.walk(os.fsencode(store))
        for name in (*directories, *files)
        if name.startswith(b".drift-save-") or name.endswith(b".new")
    )
