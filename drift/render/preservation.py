"""A suggestion as Nix for the preservation module."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drift.render.nix import Form, block_lines, guard_lines, owner_attributes
from drift.render.nix_text import STEP, string
from drift.suggestion import Owner

if TYPE_CHECKING:
    from collections.abc import Mapping

    from drift.suggestion import SuggestedFile, Suggestion

    Attributes = Mapping[str, str | Mapping[str, str]]

_MACHINE_ID = b"/etc/machine-id"
# The initrd needs these: the one to name the machine, the other to number its users.
_IN_INITRD = (_MACHINE_ID, b"/var/lib/nixos")


def render_preservation(suggestion: Suggestion, *, now: int | None = None) -> str:
    """A complete NixOS module; `now` in nanoseconds dates what is left for review."""
    block = block_lines(suggestion, PRESERVATION, STEP * 3, now)
    store = f"preserveAt.{string(suggestion.persist)}"
    lines = ["{ ... }:", "{", f"{STEP}preservation = {{", f"{STEP * 2}enable = true;"]
    if block:
        lines += [f"{STEP * 2}{store} = {{", *block, f"{STEP * 2}}};"]
    else:
        lines += [f"{STEP * 2}# Nothing to add.", f"{STEP * 2}{store} = {{ }};"]
    if (cache := suggestion.cache) is not None:
        block = block_lines(cache, PRESERVATION, STEP * 3, now)
        lines += [f"{STEP * 2}preserveAt.{string(cache.persist)} = {{", *block, f"{STEP * 2}}};"]
    lines.append(f"{STEP}}};")
    if any(file.path == _MACHINE_ID for file in suggestion.files):
        lines += [
            "",
            f"{STEP}# It would fail on a machine-id that is mounted, and is not needed there.",
            f'{STEP}systemd.suppressedSystemUnits = [ "systemd-machine-id-commit.service" ];',
        ]
    return "\n".join([*lines, *guard_lines(suggestion), "}"]) + "\n"


def preservation_directory(path: bytes, owner: Owner, default: Owner) -> Attributes:
    attributes = {"directory": string(path), **owner_attributes(owner, default)}
    if path in _IN_INITRD:
        attributes["inInitrd"] = "true"
    return attributes


def preservation_file(file: SuggestedFile, default: Owner) -> Attributes:
    """The module sets owner and mode of the file itself, 0644 if it is not told otherwise."""
    attributes: dict[str, str | Mapping[str, str]] = {"file": string(file.path)}
    if file.method == "symlink":
        attributes["how"] = string(b"symlink")
    else:
        attributes |= owner_attributes(file.owner, Owner(default.user, default.group, 0o644))
    if file.path in _IN_INITRD:
        attributes["inInitrd"] = "true"
    in_home_itself = default.user != "root" and b"/" not in file.path
    if not in_home_itself and (parent := owner_attributes(file.parent, default)):
        attributes["configureParent"] = "true"
        attributes["parent"] = parent
    return attributes


PRESERVATION = Form(preservation_directory, preservation_file)
