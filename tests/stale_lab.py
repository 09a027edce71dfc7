"""A root with a store, and `drift stale` run on it."""

from __future__ import annotations

import json
import os
import time

from click.testing import CliRunner
from nixos_root import NixosRoot

from drift.cli import cli

UNIT = "[Mount]\nWhat=/persist{path}\nWhere={path}\nOptions=bind\n"


def make_root(path):
    """A root with two accounts, its store on the same filesystem."""
    made = NixosRoot(path)
    made.write("/etc/passwd", "root:x:0:0::/root:/bin/sh\nalice:x:1000:100::/home/alice:/bin/sh\n")
    made.write("/etc/group", "root:x:0:\nusers:x:100:\n")
    made.at("/persist").mkdir(exist_ok=True)
    return made


def declare(root, *paths, files=None, active=True):
    """A system that persists `paths`; what is active is in place as a link, as files may be."""
    units = {
        f"systemd/system/{path.strip('/').replace('/', '-')}.mount": UNIT.format(path=path)
        for path in paths
    }
    system = root.system("1", units | (files or {}))
    root.activate(system)
    root.boot_next(system)
    if active:
        for path in paths:
            root.link(path, f"/persist{path}")


def age(path, days):
    """Let a tree be last written and read so many days ago."""
    when = time.time() - days * 86400
    for directory, names, files in os.walk(path):
        for name in (*names, *files):
            os.utime(os.path.join(directory, name), (when, when), follow_symlinks=False)
    os.utime(path, (when, when))


def run(root, *arguments, code=0, live=True):
    given_live = ["--live", os.fsdecode(root.bytes)] if live else []
    done = CliRunner().invoke(cli, ["stale", *given_live, *arguments], standalone_mode=False)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert done.return_value == code, (done.return_value, done.stdout, done.stderr)
    return done


def listed(root, *arguments, code=0):
    made = json.loads(run(root, "--json", *arguments, code=code).stdout)
    [store] = made["stores"]
    return store


def paths(entries):
    return [entry["path"] for entry in entries]
