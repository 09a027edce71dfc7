"""What is wrong with rule files, as sentences with file, line and key; no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from drift.errors import DriftError
from drift.names import printable

if TYPE_CHECKING:
    from collections.abc import Sequence


class Fault(NamedTuple):
    """One fault; `line` 0 where the file could not be read at all."""

    file: str
    line: int
    key: str
    what: str
    hint: str = ""

    def __str__(self) -> str:
        where = f"{printable(self.file)}:{self.line}" if self.line else printable(self.file)
        key = f"{printable(self.key)}: " if self.key else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{where}: {key}{self.what}{hint}"


class RuleFilesError(DriftError):
    """Every fault of every rule file, one a line; nothing runs on half a rule set."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        count = "this fault" if len(faults) == 1 else f"these {len(faults)} faults"
        super().__init__(
            "\n".join(map(str, faults)),
            f"correct {count} first: nothing runs on half a rule set",
        )
        self.faults = tuple(faults)
