"""Every shipped rule file: sound by itself, tried on its own examples, at odds with no other."""

import re
from functools import lru_cache
from pathlib import Path

import pytest

from drift.model import Kind
from drift.rulebook import Layer, RuleKind, load, shipped_directory
from drift.rulebook.checking import example_faults, place, repeated_patterns
from drift.rulebook.naming import read_path
from drift.rulebook.reading import read_rules

FILES = sorted(Path(shipped_directory()).glob("*.toml"))

SHARED_PLACES = """
    /bin /dev /etc /etc/systemd /home /home/* /lib /lib64 /media /mnt /nix /opt /persist /proc /root
    /run /sbin /srv /sys /usr /usr/local /usr/local/share /usr/share /var /var/cache /var/db /var/lib
    /var/local /var/spool
    ~/.cache ~/.config ~/.local ~/.local/share ~/.local/state
"""
SHARED = frozenset(SHARED_PLACES.split())
"""Places of many programs: what a rule said of them would speak for strangers.

/var/log, /var/log/private and /var/lib/private are worth keeping whole, whoever writes there.
"""


@lru_cache
def book():
    return load([(Layer.SHIPPED, shipped_directory())])


def listed(problems):
    return "\n".join(["", *map(str, problems)])


def test_every_file_is_sound():
    faults = []
    for file in FILES:
        faults += read_rules(file.read_bytes(), f"rules/{file.name}", Layer.SHIPPED)[1]
    assert not faults, listed(faults)
    names = [file.name for file in FILES if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", file.name)]
    assert not names, listed(names)


def test_every_rule_has_examples():
    bare = sorted({rule.origin for rule in book().rules if not rule.examples})
    assert not bare, listed(bare)


def test_rules_decide_their_examples_and_leave_neighbours_alone():
    faults = example_faults(book().rules, book())
    assert not faults, listed(faults)


def test_no_rule_claims_a_shared_place():
    claims = [f"{rule.origin}: {rule.pattern}" for rule in book().rules if sweeps(rule.pattern)]
    assert not claims, listed(claims)


def test_every_rule_decides_something():
    lost = []
    for rule in book().rules:
        path, _ = read_path(instance(rule.pattern))
        kinds = {
            RuleKind.DIRECTORY: [Kind.DIRECTORY],
            RuleKind.FILE: [Kind.FILE],
            RuleKind.PATH: [Kind.DIRECTORY, Kind.FILE],
        }[rule.kind]
        deciders = [book().decide(path, kind).rule for kind in kinds]
        if rule not in deciders:
            lost.append(f"{rule.origin}: {deciders[0].origin} always decides {rule.pattern}")
    assert not lost, listed(lost)


def test_no_pattern_is_in_two_files():
    faults = repeated_patterns(book().rules)
    assert not faults, listed(faults)


def test_a_service_has_one_file():
    files: dict[str, set[str]] = {}
    for rule in book().rules:
        files.setdefault(rule.service.casefold(), set()).add(place(rule)[0])
    shared = {service: found for service, found in files.items() if len(found) > 1}
    assert not shared, listed(
        f"{service}: {', '.join(sorted(found))}" for service, found in sorted(shared.items())
    )


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("/var/lib", True),
        ("/var/lib/*", True),
        ("/var/lib/**/cache", True),
        ("~/.config/*", True),
        ("~/.config/*rc", True),
        ("~/*.kdbx", False),
        ("~/**/node_modules", True),
        ("/**/*.sqlite", True),
        ("/etc/?", True),
        ("/var/lib/x", False),
        ("~/.config/x*", False),
        ("~/.mozilla/firefox/*/storage", False),
        ("/var/lib/x/**/cache", False),
    ],
)
def test_what_a_sweep_is(pattern, expected):
    assert sweeps(pattern) is expected


def sweeps(pattern):
    """Is it a shared place, or does it take almost any name right below one?"""
    if pattern in SHARED:
        return True
    parts = pattern.split("/")
    for end in range(1, len(parts)):
        above = "/".join(parts[:end])
        wild = parts[end][0] in "*?" and len(parts[end].strip("*?")) < 4
        if wild and (above in ("", "~") or above in SHARED):
            return True
    return False


def instance(pattern):
    """A path that the pattern matches and, if at all possible, no other does."""
    return pattern.replace("**", "q0q").replace("*", "q0q").replace("?", "q")
