"""Builders for judged entries and the live root that suggestions depend on."""

from __future__ import annotations

from typing import Any, NamedTuple

from drift.model import Kind, Severity, Status, Verdict
from drift.report import Entry, Finding, Group, Kept
from drift.suggest import suggest

USERS = {"root": 0, "alice": 1000, "bob": 1001, "colord": 999, "acme": 994, "nobody": 65534}
GROUPS = {"root": 0, "users": 100, "bob": 1001, "colord": 999, "acme": 994, "nogroup": 65534}
NOW = 1_700_000_000 * 10**9
DAY = 86400 * 10**9


class FakeAccount(NamedTuple):
    uid: int
    gid: int


PEOPLE = {
    "root": FakeAccount(0, 0),
    "alice": FakeAccount(1000, 100),
    "bob": FakeAccount(1001, 1001),
}


class FakeAccounts:
    def __init__(self, users=PEOPLE):
        self.users = users
        self.homes = {"root": b"/root", "alice": b"/home/alice", "bob": b"/home/bob"}

    def user_name(self, uid):
        return {uid: name for name, uid in USERS.items()}.get(uid, str(uid))

    def group_name(self, gid):
        return {gid: name for name, gid in GROUPS.items()}.get(gid, str(gid))


# Directories of the live root: uid, gid, mode.
DIRECTORIES = {
    b"/": (0, 0, 0o755),
    b"/etc": (0, 0, 0o755),
    b"/home": (0, 0, 0o755),
    b"/home/alice": (1000, 100, 0o700),
    b"/home/alice/.config": (1000, 100, 0o755),
    b"/home/alice/.local/share": (1000, 100, 0o755),
    b"/home/bob": (1001, 1001, 0o700),
    b"/root": (0, 0, 0o700),
    b"/var": (0, 0, 0o755),
    b"/var/lib": (0, 0, 0o755),
    b"/var/lib/private": (0, 0, 0o700),
}


def entry(path, kind=Kind.DIRECTORY, verdict=Verdict.PERSIST, **given):
    """An entry that a rule of its own service decided; `given` are fields of entry or finding."""
    name = path.rpartition(b"/")[2].decode(errors="replace")
    of_entry: dict[str, Any] = {
        "status": Status.ADDED,
        "files": 1,
        "bytes": 1000,
        "newest": NOW - 2 * DAY,
        "uid": 0,
        "gid": 0,
        "mode": 0o755 if kind in (Kind.DIRECTORY, Kind.SUBVOLUME) else 0o644,
        "replaced": False,
    }
    of_finding: dict[str, Any] = {
        "service": name,
        "title": name.title(),
        "verdict": verdict,
        "severity": Severity.NORMAL,
        "why": "its state" if verdict is Verdict.PERSIST else "not recognised",
        "rule": f"rules/{name}.toml:5",
        "anchor": path,
    }
    rule = given.pop("rule", {})
    for field, value in given.items():
        (of_entry if field in of_entry else of_finding)[field] = value
    finding = Finding(**of_finding, **rule)
    return Entry(path=path, kind=kind, finding=finding, changes=of_entry["files"], **of_entry)


def file(path, **given):
    return entry(path, Kind.FILE, **given)


def suggestion(
    *entries, kept=(), directories=None, names=None, cache=None, all_entries=False, accounts=None
):
    groups = [
        Group(
            one.finding.service,
            one.finding.title,
            one.finding.verdict,
            one.finding.severity,
            [one],
        )
        for one in entries
    ]
    return suggest(
        groups,
        persist=b"/persist",
        accounts=accounts or FakeAccounts(),
        kept=[Kept(path, "declared") for path in kept],
        parent_owner=(DIRECTORIES | (directories or {})).get,
        names_in=lambda path: (names or {}).get(path, ()),
        cache=cache,
        all_entries=all_entries,
    )
