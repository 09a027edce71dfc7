"""What to do with a suggestion, in order, as far as it can be told for this machine."""

from __future__ import annotations

import shlex
import textwrap
from typing import TYPE_CHECKING

from drift.names import printable, shown
from drift.render.nix_text import string
from drift.situation import absolute_paths, stores_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drift.situation import Situation
    from drift.suggestion import Suggestion

WIDTH = 80
# How many paths a sentence names.
NAMED = 3


def next_steps(suggestion: Suggestion, situation: Situation | None = None) -> str:
    """Numbered steps, empty where nothing is suggested; without `situation` what always holds."""
    every = sorted(path for store in stores_of(suggestion) for path, _ in absolute_paths(store))
    if not every:
        return ""
    steps = [*_steps(suggestion, every, situation)]
    lines = ["Next:"]
    for number, step in enumerate(steps, 1):
        lines += textwrap.wrap(
            printable(step),
            WIDTH,
            initial_indent=f"  {number}. ",
            subsequent_indent="     ",
            break_on_hyphens=False,
        )
    return "\n".join(lines)


def _steps(
    suggestion: Suggestion, every: Sequence[bytes], situation: Situation | None
) -> Iterator[str]:
    stores = [store.persist for store in stores_of(suggestion)]
    if situation is not None:
        yield from _about_stores(situation)
    yield _copy(stores, situation)
    yield _build(situation)
    yield (
        f"After the reboot, drift verify says whether everything came back, findmnt"
        f" {shlex.quote(shown(every[0]))} shows where one of them comes from, and drift scan should"
        " not name them again."
    )


def _about_stores(situation: Situation) -> Iterator[str]:
    for store in situation.unused:
        early = f"fileSystems.{_nix(store)}.neededForBoot = true"
        if store in situation.unmounted:
            yield (
                f"Nothing that outlives the root is mounted at {shown(store)}: make a subvolume for"
                f" it and mount it there early, with {early}, or name another place."
            )
        else:
            yield (
                f"Nothing is persisted in {shown(store)} yet: import the module, and have the store"
                f" mounted early, with {early}."
            )


def _copy(stores: Sequence[bytes], situation: Situation | None) -> str:
    text = (
        f"Copy the data into {shown(stores[0])} first, with drift save: listing a path moves"
        " nothing, it mounts an empty directory over the data, and the reboot deletes it."
    )
    if len(stores) > 1:
        text += f" Caches for {shown(stores[1])}: by hand, with cp -a, or not at all."
    if situation is None:
        return text
    if situation.unsaved:
        text += f" So do what is declared already, but not copied yet: {_some(situation.unsaved)}."
    if situation.saved:
        text += f" There already, and what the reboot will show, newer or not: {_some(situation.saved)}."
    return text


def _build(situation: Situation | None) -> str:
    if situation is None:
        return (
            "Add the entries, then run nixos-rebuild boot and reboot. Not switch: files that exist"
            " already make the activation fail."
        )
    if not situation.running:
        return (
            ("Build" if situation.added else "Add the entries to")
            + " the configuration of that system"
            + (" for" if situation.added else ", build it for")
            + " the next boot (nixos-rebuild boot inside of nixos-enter, or nixos-install), and"
            " boot into it."
        )
    start = "Run" if situation.added else "Add the entries, then run"
    if situation.blocking:
        return (
            f"{start} nixos-rebuild boot and reboot. Not switch: it stops at files that are in the"
            f' way ("A file already exists"): {_some(situation.blocking)}.'
        )
    return (
        f"{start} nixos-rebuild boot and reboot. Not switch: it mounts over what programs have"
        " open, and what they go on writing there is lost."
    )


def _some(paths: Sequence[bytes]) -> str:
    named = ", ".join(map(shown, paths[:NAMED]))
    rest = len(paths) - NAMED
    return named if rest <= 0 else f"{named} and {rest:,} more"


def _nix(path: bytes) -> str:
    return (
        string(path.replace(b"\0", b"")).encode(errors="surrogateescape").decode(errors="replace")
    )
