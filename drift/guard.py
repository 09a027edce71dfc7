"""Hold a reboot back for as long as it would take what matters: what counts, and when to let go."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from drift.model import Severity, Verdict
from drift.names import printable
from drift.render.scan_text import brief
from drift.stakes import groups_at_stake, listed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from drift.model import Kind
    from drift.pipeline import Scan

    # The service and the severity that the rules give a path.
    RuleOf = Callable[[bytes, Kind], tuple[str, Severity] | None]
    # Takes the reason; tells whether the lock is still held.
    Hold = Callable[[str], AbstractContextManager[Callable[[], bool]]]

# A login manager shows the reason in a line.
NAMED = 4


def reason(found: Scan, threshold: Severity, rule_of: RuleOf) -> str:
    """Why a reboot is to wait, in a line; empty where nothing of this severity would be lost.

    What counts is known to be worth keeping, and at least as severe as `threshold`. What is
    declared and lies in no store yet counts as the rules say.
    """
    lost = [
        group.service
        for group in groups_at_stake(found.report)
        for entry in listed(group)
        if entry.finding.verdict is Verdict.PERSIST and _counts(entry.finding.severity, threshold)
    ]
    told = [brief(found.report).strip().rstrip(".") + f": {_named(lost)}"] if lost else []
    rules = (rule_of(entry.path, entry.kind) for entry in found.pending)
    waiting = [rule[0] for rule in rules if rule is not None and _counts(rule[1], threshold)]
    if waiting:
        told.append(f"declared, and not copied to the store yet: {_named(waiting)}")
    return "; ".join(told)


def stand_guard(look: Callable[[], str], hold: Hold, wait: Callable[[], bool]) -> str:
    """Hold while `look` gives a reason, and return the last one; empty where there is none left.

    `wait` returns when it is time to look again, and whether to go on at all. Where `look` fails,
    it lets go: whoever can't tell must not stand in the way. A new reason is held before the old
    one is let go.
    """
    why = look()
    said = ""
    with ExitStack() as current:
        is_held: Callable[[], bool] = bool
        while why:
            if why != said or not is_held():
                with ExitStack() as following:
                    is_held = following.enter_context(hold(why))
                    current.close()
                    current.push(following.pop_all())
                said = why
            if not wait():
                break
            why = look()
    return why


def _counts(severity: Severity, threshold: Severity) -> bool:
    order = list(Severity)
    return order.index(severity) <= order.index(threshold)


def _named(services: Sequence[str]) -> str:
    """The services, each once, the first as they are listed."""
    names = list(dict.fromkeys(printable(service) for service in services))
    if len(names) <= NAMED:
        return ", ".join(names)
    return f"{', '.join(names[:NAMED])} and {len(names) - NAMED} more"
