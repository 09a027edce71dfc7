"""Turn what units and tmpfiles.d say about directories into rules."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from drift.model import Severity, Verdict
from drift.places import SHARED, SHARED_IN_HOME
from drift.rulebook.patterns import pattern_faults
from drift.rulebook.rule import Layer, Rule, RuleKind
from drift.system.etc_trees import find_etc_trees
from drift.system.rooted import Rooted
from drift.system.tmpfiles import read_tmpfiles
from drift.system.unit_file import read_units

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drift.model import Skipped
    from drift.system.accounts import Accounts
    from drift.system.tmpfiles import Line
    from drift.system.unit_file import Unit


class UnitRules(NamedTuple):
    rules: tuple[Rule, ...]
    skipped: tuple[Skipped, ...]


def read_unit_rules(root: bytes, accounts: Accounts) -> UnitRules:
    """What the next and the running system of the root at the directory `root` say.

    One rule a pattern: what a unit declares comes before what it only mentions, that before
    tmpfiles.d, and of two systems the next boot's counts.
    """
    rooted = Rooted(root)
    trees = find_etc_trees(rooted)
    order = tuple(dict.fromkeys(filter(None, (trees.upcoming, trees.running)))) or trees.all
    declared: list[Rule] = []
    mentioned: list[Rule] = []
    skipped: list[Skipped] = []
    for tree in order:
        units, unread = read_units(rooted, tree + b"/systemd/system", _SERVICES, _TELLING)
        skipped += unread
        for unit in units:
            declared += _declared(unit, accounts)
            mentioned += _mentioned(unit, accounts)
        units, unread = read_units(rooted, tree + b"/systemd/user", _SERVICES, _TELLING)
        skipped += unread
        for unit in units:
            declared += _declared_for_users(unit)
    lines, unread = read_tmpfiles(rooted, [tree + b"/tmpfiles.d" for tree in order])
    skipped += unread
    from_lines = [rule for line in lines for rule in _of_line(line)]
    rules: dict[str, Rule] = {}
    for rule in (*declared, *mentioned, *from_lines):
        if _is_sound(rule.pattern):
            rules.setdefault(rule.pattern, rule)
    return UnitRules(tuple(rules.values()), tuple(skipped))


_SERVICES = re.compile(rb".*\.service", re.DOTALL)
# What a unit must hold to say anything here; a home of its User= is asked of the accounts.
_TELLING = re.compile(
    rb"(State|Cache|Logs|Configuration)Directory|/(var|srv|opt)/|%[SCL]|^\s*User\s*=", re.MULTILINE
)


class _Store(NamedTuple):
    """A kind of directory that a unit may declare: where it lies, and what its loss means."""

    key: str
    base: str
    home: str
    what: str
    verdict: Verdict
    severity: Severity


_PERSIST, _EPHEMERAL = Verdict.PERSIST, Verdict.EPHEMERAL
_STORES = (
    _Store("State", "/var/lib", "~/.local/state", "state of", _PERSIST, Severity.NORMAL),
    _Store("Configuration", "/etc", "~/.config", "configuration of", _PERSIST, Severity.NORMAL),
    _Store("Cache", "/var/cache", "~/.cache", "cache of", _EPHEMERAL, Severity.LOW),
    _Store("Logs", "/var/log", "~/.local/state/log", "log of", _EPHEMERAL, Severity.LOW),
)


def _declared(unit: Unit, accounts: Accounts) -> Iterator[Rule]:
    """StateDirectory= and its kin, with the owner and mode that systemd gives them."""
    dynamic = unit.flag("Service", "DynamicUser")
    user, group = _owner(unit, accounts)
    for store in _STORES:
        mode = _mode(unit.last("Service", f"{store.key}DirectoryMode"))
        for name, links in _directories(unit, f"{store.key}Directory"):
            why = f"{store.what} {_subject(unit)}"
            # Configuration is never private: a passing user only reads it.
            if dynamic and store.base != "/etc":
                real = f"{store.base}/private/{name}"
                yield _rule(unit, store, real, why, mode=mode)
                yield _rule(
                    unit,
                    store,
                    f"{store.base}/{name}",
                    why,
                    kind=RuleKind.PATH,
                    advice=f"persist {real}: a bind mount over the link stops the unit",
                )
            else:
                owner = ("root", "root") if store.base == "/etc" else (user, group)
                place = f"{store.base}/{name}"
                yield _rule(unit, store, place, why, user=owner[0], group=owner[1], mode=mode)
            for link in links:
                yield _rule(
                    unit,
                    _LINK,
                    f"{store.base}/{link}",
                    f"a link that the unit makes to {name}",
                    kind=RuleKind.PATH,
                )


_LINK = _Store("", "", "", "", Verdict.REGENERATED, Severity.LOW)


def _declared_for_users(unit: Unit) -> Iterator[Rule]:
    for store in _STORES:
        mode = _mode(unit.last("Service", f"{store.key}DirectoryMode"))
        for name, _ in _directories(unit, f"{store.key}Directory"):
            why = f"{store.what} {_subject(unit)}"
            yield _rule(unit, store, f"{store.home}/{name}", why, mode=mode)


def _mentioned(unit: Unit, accounts: Accounts) -> Iterator[Rule]:
    """Directories that the unit works in or is given, where only services keep their data."""
    user, group = _owner(unit, accounts)
    if unit.flag("Service", "DynamicUser"):
        user = group = None
    whole = [unit.last("Service", "WorkingDirectory").lstrip("-")]
    whole += [path.lstrip("-+") for path in unit.words("Service", "ReadWritePaths")]
    account = accounts.users.get(unit.last("Service", "User"))
    if account is not None:
        whole.append(account.home.decode(errors="surrogateescape"))
    loose = unit.words("Unit", "RequiresMountsFor")
    for key in ("ExecStartPre", "ExecStart", "ExecStartPost", "Environment"):
        for word in unit.words("Service", key):
            loose += _PATH.findall(word)
    for path in whole:
        yield from _mention(unit, path, user, group)
    for path in loose:
        # A file of a service lies in the directory that is all its own.
        yield from _mention(unit, _topmost(path), None, None)


def _mention(unit: Unit, path: str, user: str | None, group: str | None) -> Iterator[Rule]:
    path = path.rstrip("/")
    store = next((known for known in _PLACES if path.startswith(known.base + "/")), None)
    if store is None or path.encode(errors="surrogateescape") in SHARED:
        return
    if _topmost(path) in _SYSTEMD:
        return
    kind = RuleKind.PATH if user is None else RuleKind.DIRECTORY
    why = f"{store.what} {_subject(unit)}"
    yield _rule(unit, store, path, why, user=user, group=group, kind=kind)


# Where services keep what isn't declared. /etc, /home and the like are everybody's.
_PLACES = (
    *(_Store("", base, "", "data of", _PERSIST, Severity.NORMAL) for base in ("/var/lib", "/srv")),
    *(_Store("", base, "", "data of", _PERSIST, Severity.NORMAL) for base in ("/opt", "/var/db")),
    _Store("", "/var/spool", "", "spool of", _PERSIST, Severity.NORMAL),
    _Store("", "/var/cache", "", "cache of", _EPHEMERAL, Severity.LOW),
    _Store("", "/var/log", "", "log of", _EPHEMERAL, Severity.LOW),
)
_PATH = re.compile(
    r"(?:^|(?<=[=:,;'\"\s]))(?:/var/(?:lib|db|spool|cache|log)|/srv|/opt)/[^\s:,;'\"$(){}]+"
)
# Too many share these for one unit to speak for them.
_SYSTEMD = frozenset(("/var/lib/systemd", "/var/lib/nixos", "/var/log/journal"))


def _of_line(line: Line) -> Iterator[Rule]:
    """What tmpfiles.d makes or empties."""
    path = line.path.decode(errors="surrogateescape")
    file = line.origin.rpartition("/")[2].removesuffix(".conf")
    if line.path in SHARED or _topmost(path) in _SYSTEMD:
        return
    why = ""
    if line.kind in "rR":
        why = "systemd removes it at boot"
    elif line.kind == "D":
        why = "systemd empties it at boot"
    elif line.kind in "dvqQe" and line.age not in ("", "0"):
        why = f"systemd deletes what is older than {line.age} here"
    verdict, severity = _EPHEMERAL, Severity.LOW
    if not why:
        store = next((known for known in _PLACES if path.startswith(known.base + "/")), None)
        if store is None or line.kind not in "dvqQ":
            return
        verdict, severity = store.verdict, store.severity
        why = f"{store.what} {file}, which makes the directory at boot"
    made = line.kind in "dvqQD"
    yield Rule(
        service=file,
        title=file,
        nixos=None,
        verdict=verdict,
        severity=severity,
        why=why,
        pattern=path,
        kind=RuleKind.DIRECTORY if made else RuleKind.PATH,
        origin=line.origin,
        user=(line.user or "root") if made else None,
        group=(line.group or "root") if made else None,
        mode=(0o755 if line.mode is None else line.mode) if made else None,
        layer=Layer.UNIT,
    )


def _rule(
    unit: Unit,
    store: _Store,
    pattern: str,
    why: str,
    *,
    user: str | None = None,
    group: str | None = None,
    mode: int | None = None,
    kind: RuleKind = RuleKind.DIRECTORY,
    advice: str | None = None,
) -> Rule:
    return Rule(
        service=unit.prefix,
        title=unit.description or unit.prefix,
        nixos=None,
        verdict=store.verdict,
        severity=store.severity,
        why=why,
        pattern=pattern,
        kind=kind,
        origin=f"unit {unit.name}",
        user=user,
        group=group,
        mode=mode,
        advice=advice,
        layer=Layer.UNIT,
    )


def _directories(unit: Unit, key: str) -> Iterator[tuple[str, list[str]]]:
    """The names that a key like StateDirectory= lists, each with the links made to it."""
    links: dict[str, list[str]] = {}
    for word in unit.words("Service", key):
        name, _, rest = word.partition(":")
        found = links.setdefault(_relative(name), [])
        if link := _relative(rest.partition(":")[0]):
            found.append(link)
    yield from ((name, found) for name, found in links.items() if name)


def _relative(name: str) -> str:
    """`name` without needless slashes; empty if it leaves the directory it is meant for."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return "" if name.startswith("/") or ".." in parts else "/".join(parts)


def _owner(unit: Unit, accounts: Accounts) -> tuple[str | None, str | None]:
    user = unit.last("Service", "User") or "root"
    if user.isdecimal():
        user = accounts.user_name(int(user))
    group = unit.last("Service", "Group")
    if group.isdecimal():
        group = accounts.group_name(int(group))
    if not group:
        account = accounts.users.get(user)
        group = accounts.group_name(account.gid) if account is not None else ""
    if not group and user == "root":
        group = "root"
    # A template's owner depends on its instance.
    return (None if "*" in user else user), (group if group and "*" not in group else None)


def _mode(value: str) -> int:
    return int(value, 8) if re.fullmatch("[0-7]{1,5}", value) else 0o755


def _subject(unit: Unit) -> str:
    return unit.description or unit.name


def _topmost(path: str) -> str:
    """The part of `path` that is one service's own: the entry of a shared directory."""
    parts = path.split("/")
    length = 2
    while length < len(parts) and _is_shared("/".join(parts[:length])):
        length += 1
    return "/".join(parts[:length])


def _is_shared(directory: str) -> bool:
    return directory.encode(errors="surrogateescape") in _SHARED


_SHARED = SHARED | {b"~"} | {b"~/" + name for name in SHARED_IN_HOME}


def _is_sound(pattern: str) -> bool:
    """Whether the pattern speaks for no shared directory, nor for whatever lies in one."""
    if pattern_faults(pattern) or "**" in pattern or any(sign in pattern for sign in "[]{}"):
        return False
    if _is_shared(pattern):
        return False
    parts = pattern.split("/")
    return not any(
        not part.strip("*?") and _is_shared("/".join(parts[:place]) or "/")
        for place, part in enumerate(parts)
        if place
    )
