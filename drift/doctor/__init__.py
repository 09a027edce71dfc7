"""Is this machine's layout sound? Each check is a small function over a gathered Machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drift.doctor import entries, layout, storage
from drift.doctor.check import Check, Level
from drift.doctor.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["CHECKS", "Check", "Level", "Machine", "examine"]

CHECKS: tuple[Callable[[Machine], Iterator[Check]], ...] = (
    *layout.CHECKS,
    *storage.CHECKS,
    *entries.CHECKS,
)


def examine(machine: Machine) -> list[Check]:
    """Every check, in the order of the layout: root, blank, storage, entries."""
    return [line for check in CHECKS for line in check(machine)]
