"""Go down trees of directories without recursion, for paths are deeper than Python's stack."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from drift.diff.stream import Found, Pending

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from drift.diff.sight import Place

# Every so many levels the way down is searched for a directory that lies in itself; from the first
# one on at each level, for there can be as many ways round as it has names.
DEPTH_OF_A_LOOK = 64


class Descend(NamedTuple):
    """The events below a directory, which come in the place of this one."""

    events: Iterator[Event]
    path: bytes
    place: Place


Event = Found | Pending | Descend


def flattened(top: Descend, vanished: Callable[[bytes], None]) -> Iterator[Found | Pending]:
    """The events of `top` with all below it in their places."""
    stack = [top]
    wary = False
    while stack:
        for event in stack[-1].events:
            if isinstance(event, Descend):
                stack.append(event)
                if (wary or len(stack) % DEPTH_OF_A_LOOK == 0) and _goes_round(stack):
                    wary = True
                    vanished(stack.pop().path)
                    continue
                break
            yield event
        else:
            stack.pop()


def _goes_round(stack: list[Descend]) -> bool:
    """Whether a directory lies in itself, as two do that were moved while their names were read."""
    return len({level.place for level in stack}) < len({level.path for level in stack})
