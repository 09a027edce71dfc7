"""Read and extend .nix files that declare persistence, without evaluating them."""

from drift.nixfile.editing import Addition, LeftOut, add_missing
from drift.nixfile.reading import Declared, Paths, Store, Unresolved, read_declared

__all__ = [
    "Addition",
    "Declared",
    "LeftOut",
    "Paths",
    "Store",
    "Unresolved",
    "add_missing",
    "read_declared",
]
