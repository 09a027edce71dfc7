"""A NixOS machine on real Btrfs: subvolumes mounted as at run time, a root as activation leaves it."""

from __future__ import annotations

import os
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self

from nixos_root import NixosRoot

if TYPE_CHECKING:
    from btrfs_lab import Lab

SUBVOLUMES = {"nix": "/nix", "persist": "/persist", "home": "/home", "log": "/var/log"}


class Machine:
    """The live root is a snapshot of `root-blank`; `root` builds it, `system` and `activate` too.

    `subvolumes` are mounted by name where they say, below the live root at `live`.
    """

    def __init__(self, lab: Lab, *, blank: str = "root-blank", read_only: bool = True) -> None:
        self.lab = lab
        self.stack = ExitStack()
        made = Path(os.fsdecode(lab.create("installed")))
        for point in SUBVOLUMES.values():
            (made / point.lstrip("/")).mkdir(parents=True)
        lab.snapshot("installed", blank, readonly=read_only)
        lab.delete("installed")
        lab.snapshot(blank, "root")
        for name in SUBVOLUMES:
            lab.create(name)
        self.live = os.fsdecode(lab.mount_subvolume("root", lab.directory + b"/live"))
        for name, point in SUBVOLUMES.items():
            lab.mount_subvolume(name, self.live + point)
        self.root = NixosRoot(Path(self.live))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def bind(self, path: str, *, directory: bool = True, store: str = "/persist") -> None:
        """Mount the store's `path` over the live one, as the modules' units do."""
        source, target = self.live + store + path, self.live + path
        for place in (source, target):
            if directory:
                os.makedirs(place, exist_ok=True)
            else:
                os.makedirs(os.path.dirname(place), exist_ok=True)
                Path(place).touch()
        subprocess.run(["mount", "--bind", source, target], check=True)
        self.stack.callback(subprocess.run, ["umount", target], check=False)

    def below(self, path: str) -> Path:
        """Where the root's own `path` is, whatever is mounted over it."""
        return Path(os.fsdecode(self.lab.path("root"))) / path.lstrip("/")
