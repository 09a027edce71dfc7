"""All operations that a random history is made of, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from scene import Scene

    Operation = Callable[[Scene], None]

OPERATIONS: dict[str, Operation] = {}
_WEIGHTS: dict[str, float] = {}


def operation(function: Operation) -> Operation:
    """Register a function that changes a scene's tree in one way.

    It may raise OSError: what the situation or the filesystem doesn't allow doesn't happen.
    """
    return _register(function, 1.0)


def costly_operation(function: Operation) -> Operation:
    """Register an operation that takes long or makes many entries: it is chosen seldom."""
    return _register(function, 0.3)


def choose(rng: Random) -> str:
    """Return the name of the next operation."""
    names = list(OPERATIONS)
    return rng.choices(names, weights=[_WEIGHTS[name] for name in names])[0]


def _register(function: Operation, weight: float) -> Operation:
    name = function.__name__
    assert name not in OPERATIONS
    OPERATIONS[name] = function
    _WEIGHTS[name] = weight
    return function
