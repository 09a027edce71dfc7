"""Build the directory of a NixOS root as activation leaves it, on any filesystem."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

STORE = "/nix/store"
HASH = "0123456789abcdfghijklmnpqrsvwxyz"


def store_path(name: str, digit: str = "0") -> str:
    return f"{STORE}/{digit}{HASH[1:]}-{name}"


class NixosRoot:
    """A root below `path`; paths given to its methods are absolute as the root itself sees them.

    Each `system` is one closure with a tree of /etc files; `activate` makes it the running one
    and does to /etc what the activation script does.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes = os.fsencode(path)
        for name in ("/etc", "/nix/store", "/var/lib", "/root", "/run"):
            self.at(name).mkdir(parents=True, exist_ok=True)

    def at(self, path: str) -> Path:
        return self.path / path.lstrip("/")

    def write(self, path: str, content: str | bytes = b"", mode: int = 0o644) -> None:
        file = self.at(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        file.chmod(mode)

    def link(self, path: str, target: str) -> None:
        file = self.at(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        file.symlink_to(target)

    def system(
        self,
        digit: str,
        files: dict[str, str],
        *,
        copied: dict[str, str] | None = None,
        direct: dict[str, str] | None = None,
    ) -> str:
        """Make a closure; `files` are links in /etc, `copied` and `direct` as their mode says."""
        etc = store_path("etc", digit) + "/etc"
        self.at(etc).mkdir(parents=True)
        for name, content in {**files, **(copied or {})}.items():
            source = store_path("etc-" + name.replace("/", "-"), digit)
            self.write(source, content, 0o444)
            self.link(f"{etc}/{name}", source)
        for name in copied or {}:
            for ending, value in (("mode", "0440"), ("uid", "+0"), ("gid", "+0")):
                self.write(f"{etc}/{name}.{ending}", value + "\n", 0o444)
        for name, target in (direct or {}).items():
            self.link(f"{etc}/{name}", target)
            self.write(f"{etc}/{name}.mode", "direct-symlink\n", 0o444)
        closure = store_path("nixos-system-host-25.05", digit)
        self.link(f"{closure}/etc", etc)
        return closure

    def activate(self, closure: str) -> None:
        etc = self.at(os.readlink(self.at(closure + "/etc")))
        self.link("/run/current-system", closure)
        self.link("/etc/static", "/" + os.path.relpath(etc, self.path))
        clean = []
        for file in sorted(etc.rglob("*")):
            name = os.path.relpath(file, etc)
            if not file.is_symlink():
                continue
            mode = etc / (name + ".mode")
            if not mode.exists():
                self.link(f"/etc/{name}", f"/etc/static/{name}")
                continue
            clean.append(name)
            if mode.read_text() == "direct-symlink\n":
                self.link(f"/etc/{name}", os.readlink(file))
            else:
                self.write(f"/etc/{name}", self.at(os.readlink(file)).read_bytes(), 0o440)
        self.write("/etc/.clean", "".join(name + "\n" for name in clean))
        self.write("/etc/NIXOS")

    def boot_next(self, closure: str) -> None:
        """Make a closure the default of the next boot, as `nixos-rebuild boot` does."""
        self.link("/nix/var/nix/profiles/system", "system-2-link")
        self.link("/nix/var/nix/profiles/system-2-link", closure)
