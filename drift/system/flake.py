"""Ask Nix what a flake's NixOS configuration persists."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any

from drift.errors import DriftError, UsageError
from drift.model import Kind
from drift.system import programs
from drift.system.declared import Claim
from drift.system.mounts import join

if TYPE_CHECKING:
    from collections.abc import Callable

    from drift.system.programs import Completed


def read_flake(
    reference: str, run: Callable[..., Completed] = programs.run
) -> tuple[list[Claim], list[str]]:
    """What `FLAKE#HOST` keeps with impermanence and preservation, and what was said about the rest.

    UsageError where no host is named; DriftError where Nix is missing or can't evaluate it.
    """
    flake, _, host = reference.partition("#")
    if not host:
        raise UsageError(f"{reference} names no host", "write it as FLAKE#HOST, as nixos-rebuild")
    # Nix takes a bare name for an entry of its registry.
    if os.path.isdir(flake) and not flake.startswith(("/", ".")):
        flake = "./" + flake
    done = run(
        [
            "nix",
            "--extra-experimental-features",
            "nix-command flakes",
            "eval",
            "--json",
            "--no-write-lock-file",
            f"{flake or '.'}#nixosConfigurations.{_quoted(host)}.config",
            "--apply",
            _APPLY,
        ]
    )
    if done.returncode != 0:
        raise DriftError(f"Nix can't evaluate {reference}: {_complaint(done.stderr)}")
    try:
        found = json.loads(done.stdout.decode(errors="surrogateescape"))
    except ValueError as error:
        raise DriftError(f"Nix gave no JSON for {reference}") from error
    claims, odd = [], []
    for entry in found:
        claim = _claim(entry, f"flake {reference}")
        if claim is None:
            odd.append(f"{reference}: an entry without a path was left out")
        else:
            claims.append(claim)
    return claims, odd


# Asks for no more than it needs, so that nothing else must be evaluated. The forms of both
# modules changed over time: `dirPath` and `filePath` are whole paths where they exist.
_APPLY = """
config:
let
  values = set: map (name: set.${name}) (builtins.attrNames set);
  concat = builtins.concatLists;
  under = home: path: if home == null then path else home + "/" + path;
  impermanence = persistence: concat (map (store:
    let
      root = store.persistentStoragePath;
      entries = set: home:
        map (d: {
          inherit root;
          kind = "directory";
          path = d.dirPath or (under home d.directory);
        }) (set.directories or [ ])
        ++ map (f: {
          inherit root;
          kind = "file";
          path = f.filePath or (under home f.file);
        }) (set.files or [ ]);
      users = store.users or { };
      home = name: (config.users.users.${name} or { home = "/home/" + name; }).home;
    in
    if store.enable or true then
      entries store null
      ++ concat (map (name: entries users.${name} (home name)) (builtins.attrNames users))
    else [ ]
  ) (map (name: { persistentStoragePath = name; } // persistence.${name})
      (builtins.attrNames persistence)));
  preservation = stores: concat (map (store:
    let
      root = store.persistentStoragePath;
      real = builtins.filter (entry: (entry.how or "") != "_intermediate");
      entries = set:
        map (d: { inherit root; kind = "directory"; path = d.directory; })
          (real (set.directories or [ ]))
        ++ map (f: { inherit root; kind = "file"; path = f.file; }) (real (set.files or [ ]));
    in
    entries store ++ concat (map entries (values (store.users or { })))
  ) (map (name: { persistentStoragePath = name; } // stores.${name}) (builtins.attrNames stores)));
in
impermanence (config.environment.persistence or { })
++ (if config.preservation.enable or false
    then preservation (config.preservation.preserveAt or { })
    else [ ])
"""


def _claim(entry: Any, by: str) -> Claim | None:
    match entry:
        case {"root": str(root), "path": str(path), "kind": "directory" | "file" as kind}:
            whole = _normal(path)
            if whole == b"/":
                return None
            return Claim(whole, join(_normal(root), whole), Kind(kind), by)
        case _:
            return None


def _normal(path: str) -> bytes:
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return b"/" + "/".join(parts).encode(errors="surrogateescape")


def _quoted(host: str) -> str:
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_'-]*", host):
        return host
    return '"' + host.replace("\\", "\\\\").replace('"', '\\"').replace("${", "\\${") + '"'


def _complaint(stderr: bytes) -> str:
    """The line that says what is wrong: Nix ends with it, or marks it as the error."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", stderr.decode(errors="backslashreplace"))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error:") and line != "error:"]
    return (errors or lines or ["it says no more"])[-1].removeprefix("error:").strip()
