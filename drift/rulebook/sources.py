"""Find the rule files: the shipped ones, the system's, the user's and those given."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from drift.rulebook.rule import Layer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SYSTEM_RULES = Path("/etc/drift/rules.d")

Source = tuple[Layer, Path]


class RuleFile(NamedTuple):
    """`name` is what messages and origins call the file."""

    layer: Layer
    name: str
    path: str


def shipped_directory() -> Path:
    """The rules beside the modules of an installed drift, else those of the checkout."""
    package = Path(__file__).parent.parent
    installed = package / "shipped_rules"
    return installed if installed.is_dir() else package.parent / "rules"


def rule_sources(extra: Sequence[Path], environ: Mapping[str, str]) -> list[Source]:
    """The directories and files to read, earlier layers first; what isn't there is left out.

    `extra` were named by the user, so they stay even where they don't exist: that is a fault.
    """
    sources = [(Layer.SHIPPED, shipped_directory()), (Layer.SYSTEM, SYSTEM_RULES)]
    home = environ.get("HOME", "")
    config = environ.get("XDG_CONFIG_HOME") or (os.path.join(home, ".config") if home else "")
    if os.path.isabs(config):
        sources.append((Layer.USER, Path(config, "drift/rules.d")))
    present = [source for source in sources if os.path.lexists(source[1])]
    return present + [(Layer.GIVEN, path) for path in extra]


def rule_files(source: Source) -> list[RuleFile]:
    """The rule files of a source, by name; OSError where a directory can't be listed.

    A path that is no directory stands for itself, whatever its name.
    """
    layer, path = source
    given = os.fspath(path)
    if not os.path.isdir(given):
        return [RuleFile(layer, given, given)]
    names = sorted(name for name in os.listdir(given) if name.endswith(".toml"))
    # A shipped file has one name, wherever drift is installed.
    shown = "rules" if layer is Layer.SHIPPED else given
    # Joined by hand: this runs a thousand times before every scan.
    return [RuleFile(layer, f"{shown}/{name}", f"{given}/{name}") for name in names]
