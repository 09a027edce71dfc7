"""Compile the shipped rules while drift is built, so that no run of it has to."""

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

COMPILED = "drift/rulebook/shipped.bin"


class CompiledRules(BuildHookInterface):  # type: ignore[type-arg]
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Leave the compiled rules beside the modules, in a checkout (`editable`) as in a wheel."""
        sys.path.insert(0, self.root)
        try:
            from drift.rulebook.compiling import write_shipped
        finally:
            sys.path.remove(self.root)
        write_shipped()
        # git ignores it, and what git ignores is else left out.
        build_data["artifacts"].append(COMPILED)
        if version != "editable":
            # The rule files stand at the top level, readable without Python; an installed drift
            # finds them beside its modules.
            build_data["force_include"][str(Path(self.root, "rules"))] = "drift/shipped_rules"
