"""What the last boot took away: the newest earlier root against the live one, judged by the rules."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from drift.btrfs.subvolumes import relate
from drift.compare import open_top
from drift.errors import DriftError
from drift.group import complete, group
from drift.judge import Facts, Judge
from drift.model import Engine, Root, Status, Verdict
from drift.names import shown
from drift.old_roots import old_roots, old_tree
from drift.pipeline import feed
from drift.report import Report
from drift.saving.reading import kind_and_owner

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from drift.btrfs.subvolumes import Subvolume
    from drift.locate import Located
    from drift.model import Skipped


class Earlier(NamedTuple):
    """The earlier root that was looked at, and how many others there are."""

    subvolume: Subvolume
    others: int


def choose(located: Located, name: bytes | None) -> Earlier:
    """The newest earlier root, or the one called `name`; DriftError where there is none."""
    filesystem, live = located.filesystem, located.live_subvolume
    if filesystem is None or live is None:
        raise DriftError(
            f"{shown(located.live_directory)} is no Btrfs subvolume, so no earlier root is kept",
            "earlier roots are subvolumes beside the live root, as in old_roots",
        )
    found = old_roots(live, filesystem.subvolumes)
    if name is not None:
        from drift.btrfs.subvolumes import named_blank

        # The same way to name a subvolume, by all of its path or the end of it.
        chosen = named_blank(name, live, filesystem.subvolumes)
        return Earlier(chosen, sum(one.id != chosen.id for one in found))
    if not found:
        raise DriftError(
            "no earlier root is kept on this filesystem",
            "drift looks for old_roots/*, @old_roots/* and snapshots of the root; name another"
            " subvolume with --old NAME",
        )
    return Earlier(found[0], len(found) - 1)


def read_lost(
    located: Located,
    old: Subvolume,
    rules: tuple[str, ...],
    environ: Mapping[str, str],
    *,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """What is in the earlier root and not, or not so, in the live one.

    In the report `live` is the earlier root and `blank` the live one; what only the live one has
    is left out.
    """
    from drift.persistence import read_persistence
    from drift.reviewing.rules import with_reviewed
    from drift.rulebook import load, rule_sources
    from drift.system.accounts import read_accounts
    from drift.system.nixos import read_regenerated

    started = time.monotonic()
    both = _swapped(located, old)
    root = located.live_directory
    accounts = read_accounts(root)
    regenerated = read_regenerated(root)
    persistence = read_persistence(located.mounts, root)
    homes = accounts.home_directories
    facts = Facts(
        homes=homes,
        mounts=persistence.points,
        regenerated=regenerated,
        owners=accounts,
        stores=persistence.lasting_stores,
        declared=persistence.findings,
    )
    book = load(rule_sources(rules, environ), environ)
    book = with_reviewed(book, root, persistence.stores)
    judge = Judge(book.walk(homes), facts)
    skipped: list[Skipped] = [*accounts.skipped, *regenerated.skipped]
    feed(judge, both, skipped, progress=progress, but=Status.DELETED)
    entries = judge.entries()
    with ExitStack() as stack:
        tree = stack.enter_context(old_tree(open_top(both, stack), old))
        complete(entries, lambda path: kind_and_owner(tree, path))
    return Report(
        live=both.live,
        blank=both.blank,
        engine=both.engine,
        lineage=both.lineage,
        base_generation=both.base,
        counts=judge.counts,
        groups=group(
            (entry for entry in entries if entry.finding.verdict is not Verdict.KEPT), homes
        ),
        kept=persistence.kept,
        hidden=judge.hidden(),
        skipped=sorted(set(skipped), key=lambda one: (one.path.split(b"/"), one.reason)),
        seconds=time.monotonic() - started,
    )


def _swapped(located: Located, old: Subvolume) -> Located:
    """The earlier root in the place of the live one, and that in the place of the blank."""
    filesystem, live = located.filesystem, located.live_subvolume
    assert filesystem is not None
    assert live is not None
    relation = relate(old, live, filesystem.subvolumes.values())
    return located._replace(
        live=Root(old.path, old.path, old.id, old.generation),
        blank=Root(located.live_directory, live.path, live.id, live.generation),
        engine=Engine.METADATA if relation.base is None else Engine.GENERATION,
        lineage=relation.lineage,
        base=relation.base,
        blank_directory=located.live_directory,
        live_subvolume=old,
        blank_subvolume=live,
    )
