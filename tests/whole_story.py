"""One machine's life in a mount namespace of its own: install, live, save, roll back, boot, verify.

Run as `unshare --mount --propagation private python whole_story.py STORE [--save]`, where STORE is
btrfs, ext4 or full; prints one JSON object of what happened.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from btrfs_lab import Lab
from save_lab import temporaries, untimed, whole

from drift import demo_tree

PROJECT = Path(__file__).parents[1]
MOUNTED = {"nix": "nix", "home": "home", "log": "var/log"}


def run(*command):
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout


class Machine:
    """The guide's layout on a filesystem of its own; the store may be elsewhere."""

    def __init__(self, lab, store):
        self.lab = lab
        self.store = store
        self.live = Path(os.fsdecode(lab.directory)) / "live"
        self.kept = self.live / "persist"
        self.mounts = []

    def install(self):
        lab = self.lab
        for name in ("root", "nix", "home", "log", "persist"):
            lab.create(name)
        for stub in demo_tree.STUBS:
            os.makedirs(lab.path("root") + stub)
        lab.snapshot("root", "root-blank", readonly=True)
        demo_tree.build(lab.path("home"), demo_tree.HOME, lab.create)
        demo_tree.build(lab.path("nix"), demo_tree.NIX, lab.create)
        self.roll_back()

    def live_a_while(self):
        root = self.lab.path("root")
        items = (*demo_tree.REGENERATED, *demo_tree.STATE)
        demo_tree.build(root, items, lambda path: self.lab.create(path[len(self.lab.top) + 1 :]))
        base = Path(os.fsdecode(root)) / "var/lib/postgresql/16/base"
        os.link(base / "1/1259", base / "linked")
        with (base / "sparse").open("wb") as file:
            file.truncate(8 << 20)
        os.setxattr(base / "1", b"user.note", b"\x00kept")
        os.setxattr(base / "1/1259", b"trusted.note", b"kept")
        subprocess.run(["setfacl", "-m", "u:33:rw", base / "1/1259"], check=True)
        os.mkfifo(base / "fifo", 0o600)
        (Path(os.fsdecode(root)) / "var/lib/machines/image").write_bytes(os.urandom(70_000))

    def mount(self):
        def mount(*options):
            run("mount", *options)
            self.mounts.append(options[-1])

        self.live.mkdir(exist_ok=True)
        device = self.lab.device
        mount("-t", "btrfs", "-o", "subvol=root", device, str(self.live))
        for name, place in MOUNTED.items():
            mount("-t", "btrfs", "-o", f"subvol={name}", device, str(self.live / place))
        if self.store == "btrfs":
            mount("-t", "btrfs", "-o", "subvol=persist", device, str(self.kept))
        else:
            mount("-o", "loop", os.fsdecode(self.lab.directory) + "/ext4", str(self.kept))

    def unmount(self):
        while self.mounts:
            run("umount", self.mounts.pop())

    def roll_back(self):
        """What the guide's script does in the initrd."""
        top = self.lab.top.decode()
        said = run("btrfs", "subvolume", "list", "-o", f"{top}/root")
        for line in said.splitlines():
            run("btrfs", "subvolume", "delete", f"{top}/{line.split(maxsplit=8)[8]}")
        run("btrfs", "subvolume", "delete", f"{top}/root")
        run("btrfs", "subvolume", "snapshot", f"{top}/root-blank", f"{top}/root")

    def activate(self, suggestion):
        """What NixOS makes again, and what the module creates and mounts."""
        demo_tree.build(os.fsencode(self.live), demo_tree.REGENERATED, os.mkdir)
        for one in suggestion["directories"]:
            source, target = self.at(one["directory"])
            if not source.exists():
                source.mkdir(parents=True, mode=0o755)
                source.chmod(int(one["mode"], 8))
            target.mkdir(parents=True, exist_ok=True)
            self.bind(source, target)
        for one in suggestion["files"]:
            source, target = self.at(one["file"])
            target.parent.mkdir(parents=True, exist_ok=True)
            source.parent.mkdir(parents=True, exist_ok=True)
            if source.exists():
                target.touch()
                self.bind(source, target)
            else:
                target.symlink_to("/persist" + one["file"])

    def at(self, path):
        return self.kept / path.lstrip("/"), self.live / path.lstrip("/")

    def bind(self, source, target):
        run("mount", "--bind", str(source), str(target))
        self.mounts.append(str(target))

    def drift(self, *arguments):
        done = subprocess.run(
            [sys.executable, "-m", "drift", *arguments, "--live", str(self.live)],
            cwd=PROJECT,
            env={**os.environ, "XDG_CONFIG_HOME": "/nonexistent"},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def look(self, paths):
        """All that is below the given paths now, as text that can be compared."""
        found = {}
        for path in paths:
            live = os.fsencode(self.live) + os.fsencode(path)
            if not os.path.lexists(live):
                found[path] = "nothing"
                continue
            if os.path.isdir(live):
                # A database that others had open has new times, a saved one the old.
                found[path] = repr(sorted(whole(live).items()))
            else:
                name = b"/" + os.path.basename(live)
                found[path] = repr(untimed(whole(os.path.dirname(live)))[name])
        return found


def story(store, *, save):
    with ExitStack() as stack:
        lab = stack.enter_context(Lab())
        machine = Machine(lab, store)
        if store != "btrfs":
            image = os.fsdecode(lab.directory) + "/ext4"
            with open(image, "wb") as file:
                file.truncate((64 << 20) if store == "ext4" else (2 << 20))
            run("mkfs.ext4", "-q", "-F", "-N", "2000" if store == "ext4" else "60", image)
        machine.install()
        machine.live_a_while()
        machine.mount()
        stack.callback(machine.unmount)
        told = {
            "scan": machine.drift("scan", "--json"),
            "suggest": machine.drift("suggest", "--json"),
        }
        suggestion = json.loads(told["suggest"][1])
        paths = [one["directory"] for one in suggestion["directories"]]
        paths += [one["file"] for one in suggestion["files"]]
        before = machine.look(paths)
        if save:
            told["save"] = machine.drift("save", "--yes")
            told["again"] = machine.drift("save", "--yes")
            told["verify before"] = machine.drift("verify", "--json")
        left = sorted(os.listdir(machine.kept))
        unfinished = [os.fsdecode(path) for path in temporaries(machine.kept)]
        subvolumes = [os.fsdecode(path) for path in lab.subvolumes()]
        machine.unmount()
        machine.roll_back()
        machine.mount()
        machine.activate(suggestion)
        told["verify"] = machine.drift("verify", "--json")
        told["verify text"] = machine.drift("verify")
        return {
            "told": told,
            "paths": paths,
            "before": before,
            "after": machine.look(paths),
            "left": left,
            "unfinished": unfinished,
            "subvolumes": subvolumes,
        }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(story(sys.argv[1], save="--save" in sys.argv)))
