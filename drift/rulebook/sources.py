"""Find the rule files: the shipped ones, the system's, the user's and those given."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from drift.rulebook.rule import Layer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SYSTEM_RULES = "/etc/drift/rules.d"

LARGEST = 1 << 20
"""The largest rule file in bytes: what is larger was not written by hand."""

RULEBOOK = os.path.dirname(__file__)
_PACKAGE = os.path.dirname(RULEBOOK)
INSTALLED = os.path.join(_PACKAGE, "shipped_rules")
"""Where a build puts the shipped rules; a checkout has none there."""

Source = tuple[Layer, str | os.PathLike[str]]


class RuleFile(NamedTuple):
    """`name` is what messages and origins call the file."""

    layer: Layer
    name: str
    path: str


def shipped_directory() -> str:
    """The rules beside the modules of an installed drift, else those of the checkout."""
    checkout = os.path.join(os.path.dirname(_PACKAGE), "rules")
    return INSTALLED if os.path.isdir(INSTALLED) else checkout


def code_files() -> list[str]:
    """The modules that say what a rule file comes to; none where they are no files."""
    try:
        names = sorted(name for name in os.listdir(RULEBOOK) if name.endswith(".py"))
    except OSError:
        return []
    return [os.path.join(RULEBOOK, name) for name in names]


def rule_sources(
    extra: Sequence[str | os.PathLike[str]], environ: Mapping[str, str]
) -> list[Source]:
    """The directories and files to read, earlier layers first; what isn't there is left out.

    `extra` were named by the user, so they stay even where they don't exist: that is a fault.
    """
    sources: list[Source] = [(Layer.SHIPPED, shipped_directory()), (Layer.SYSTEM, SYSTEM_RULES)]
    home = environ.get("HOME", "")
    config = environ.get("XDG_CONFIG_HOME") or (os.path.join(home, ".config") if home else "")
    if os.path.isabs(config):
        sources.append((Layer.USER, os.path.join(config, "drift/rules.d")))
    present = [source for source in sources if os.path.lexists(source[1])]
    return present + [(Layer.GIVEN, path) for path in extra]


def rule_files(source: Source) -> list[RuleFile]:
    """The rule files of a source, by name; OSError where a directory can't be listed."""
    layer, path = source
    given = os.fspath(path)
    # A shipped file has one name, wherever drift is installed.
    shown = "rules" if layer is Layer.SHIPPED else given
    return [RuleFile(layer, shown + part, given + part) for part in rule_paths(given)]


def rule_paths(given: str) -> list[str]:
    """What to append to the path of a source to get its rule files; OSError as `rule_files`.

    A path that is no directory stands for itself, whatever its name.
    """
    if not os.path.isdir(given):
        return [""]
    return sorted(f"/{name}" for name in os.listdir(given) if name.endswith(".toml"))
