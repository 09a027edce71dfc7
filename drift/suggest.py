"""Turn judged entries into what to add to `environment.persistence`; no I/O."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from drift import caveats
from drift.choice import Choice, is_stub
from drift.live_root import LiveRoot
from drift.model import Severity, Verdict
from drift.places import ancestors, parent_of
from drift.suggestion import Advice, SuggestedDirectory, SuggestedFile, Suggestion, UserSuggestion

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from drift.caveats import Wanted
    from drift.live_root import Accounts
    from drift.report import Entry, Finding, Group, Kept


def suggest(
    groups: Sequence[Group],
    *,
    persist: bytes,
    accounts: Accounts,
    kept: Sequence[Kept],
    parent_owner: Callable[[bytes], tuple[int, int, int] | None],
    names_in: Callable[[bytes], Collection[bytes]] = lambda _: (),
    cache: bytes | None = None,
    all_entries: bool = False,
) -> Suggestion:
    """What keeps the entries worth keeping, minimal, and without what is kept already.

    `parent_owner` gives uid, gid and mode of a directory of the live root, None where there is
    none, and `names_in` what lies in it. Caches worth keeping go to the second store `cache`, if
    there is one. What was not recognised stays in `review`, its owner's names in the finding,
    unless `all_entries` is set. Everything is ordered by severity of the service, service and path.
    """
    root = LiveRoot(groups, accounts, kept, parent_owner, names_in)
    choice = Choice(root, [store for store in (persist, cache) if store is not None])
    review: list[Entry] = []
    for entry in (entry for group in groups for entry in group.entries):
        match entry.finding.verdict:
            case Verdict.PERSIST:
                choice.place(entry)
            case Verdict.REVIEW if all_entries:
                choice.place(entry)
            case Verdict.REVIEW if root.is_kept(entry.path) or choice.is_stores(entry):
                pass
            case Verdict.REVIEW:
                review.append(entry)
                choice.advise(entry)
            case Verdict.REGENERATED:
                choice.advise(entry)
            case _:
                pass
    wanted = _without_nested(choice.wanted)
    directories = frozenset(want.path for want in wanted if want.directory)
    left = [
        _with_owner(entry, root)
        for entry in review
        if entry.path not in directories
        and directories.isdisjoint(ancestors(entry.path))
        and not is_stub(entry, root)
    ]
    one_store = cache in (None, persist)
    caches = [] if one_store else [want for want in wanted if caveats.is_cache(want, root)]
    moved = {want.path for want in caches}
    others = [want for want in wanted if want.path not in moved]
    advice = {
        *choice.advice,
        *caveats.about(others, root, persist, one_store=one_store),
        *caveats.renumbering(wanted, root),
    }
    if cache is None or not caches:
        return _ordered(others, left, advice, root, persist)
    advice.update(caveats.about(caches, root, cache, one_store=False))
    second = _ordered(caches, (), (), root, cache)
    return replace(_ordered(others, left, advice, root, persist), cache=second)


def _without_nested(wanted: Sequence[Wanted]) -> list[Wanted]:
    """Each path once, nothing below a wanted directory; what it held counts for the directory."""
    found: dict[bytes, Wanted] = {}
    # A directory comes before what lies in it, and before a file that was taken at its path.
    for want in sorted(wanted, key=lambda want: (want.path, not want.directory)):
        above = next(
            (place for place in (*ancestors(want.path), want.path) if _is_directory(found, place)),
            want.path,
        )
        holder = found.get(above)
        if holder is None:
            found[want.path] = want
            continue
        found[above] = holder._replace(
            finding=_weightier(holder, want),
            files=holder.files + want.files,
            bytes=holder.bytes + want.bytes,
        )
    return list(found.values())


def _is_directory(found: dict[bytes, Wanted], path: bytes) -> bool:
    return path in found and found[path].directory


def _weightier(holder: Wanted, other: Wanted) -> Finding:
    """Of two decisions about one directory the graver one; for what it only holds, its own."""
    if holder.path != other.path:
        return holder.finding
    return min(
        (holder.finding, other.finding),
        key=lambda finding: (_RANK[finding.severity], finding.service, finding.why),
    )


def _with_owner(entry: Entry, root: LiveRoot) -> Entry:
    owner = root.owner(entry.path, (entry.uid, entry.gid, entry.mode))
    finding = replace(entry.finding, user=owner.user, group=owner.group, mode=owner.mode)
    return replace(entry, finding=finding)


_RANK = {severity: rank for rank, severity in enumerate(Severity)}


def _ordered(
    wanted: Sequence[Wanted],
    review: Iterable[Entry],
    advice: Iterable[Advice],
    root: LiveRoot,
    persist: bytes,
) -> Suggestion:
    gravest: dict[str, int] = {}
    for want in wanted:
        rank = _RANK[want.finding.severity]
        gravest[want.finding.service] = min(rank, gravest.get(want.finding.service, rank))

    def place_of(want: Wanted) -> tuple[int, str, bytes]:
        return gravest[want.finding.service], want.finding.service, want.path

    review = sorted(review, key=lambda entry: entry.path)
    by_home: defaultdict[tuple[str, bytes] | None, list[Wanted]] = defaultdict(list)
    for entry in review:
        by_home[root.home_of(entry.path)] = []
    for want in sorted(wanted, key=place_of):
        by_home[root.home_of(want.path)].append(want)
    system = by_home.pop(None, [])
    return Suggestion(
        persist=persist,
        directories=_directories(system, b""),
        files=_files(system, b"", root),
        users=tuple(
            UserSuggestion(
                name=name,
                home=home,
                directories=_directories(by_home[name, home], home + b"/"),
                files=_files(by_home[name, home], home + b"/", root),
                group=root.primary_group(name, home),
            )
            for name, home in sorted(home for home in by_home if home is not None)
        ),
        review=tuple(review),
        advice=tuple(sorted(advice, key=lambda advice: (advice.path, advice.say))),
    )


def _directories(wanted: Iterable[Wanted], home: bytes) -> tuple[SuggestedDirectory, ...]:
    return tuple(
        SuggestedDirectory(
            path=want.path.removeprefix(home),
            owner=want.owner,
            service=want.finding.service,
            title=want.finding.title,
            why=want.finding.why,
            files=want.files,
            bytes=want.bytes,
        )
        for want in wanted
        if want.directory
    )


def _files(wanted: Iterable[Wanted], home: bytes, root: LiveRoot) -> tuple[SuggestedFile, ...]:
    return tuple(
        SuggestedFile(
            path=want.path.removeprefix(home),
            parent=root.owner_of_directory(parent_of(want.path)),
            method=want.method,
            service=want.finding.service,
            title=want.finding.title,
            why=want.finding.why,
            bytes=want.bytes,
            owner=want.owner,
        )
        for want in wanted
        if not want.directory
    )
