"""Find the rule files and read their bytes; everything else about them is decided elsewhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from drift.rulebook.rule import Layer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

SYSTEM_RULES = Path("/etc/drift/rules.d")

Source = tuple[Layer, Path]


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


def rule_files(source: Source) -> list[tuple[str, Path]]:
    """The files of a source in the order of their names, each with its name for messages.

    OSError where a directory can't be listed; a path that isn't one stands for itself.
    """
    layer, path = source
    if not os.path.isdir(path):
        return [(file_name(layer, path), path)]
    names = sorted(name for name in os.listdir(path) if name.endswith(".toml"))
    return [(file_name(layer, path / name), path / name) for name in names]


def file_name(layer: Layer, path: Path) -> str:
    """`rules/openssh.toml` for a shipped file wherever it is installed, else the path as given."""
    return f"rules/{path.name}" if layer is Layer.SHIPPED else os.fspath(path)


def read_files(
    files: Iterable[tuple[str, Path]], limit: int
) -> Iterable[tuple[str, bytes | OSError]]:
    """Yield each file's first `limit` bytes or why they can't be read."""
    for name, path in files:
        try:
            with open(path, "rb") as file:
                yield name, file.read(limit)
        except OSError as error:
            yield name, error
