"""Every shipped rule file: sound by itself, tried on its own examples, at odds with no other."""

from functools import lru_cache

import pytest

from drift.model import Kind
from drift.rulebook import Layer, RuleKind, load, shipped_directory
from drift.rulebook.checking import example_faults, place, repeated_patterns
from drift.rulebook.naming import read_path
from drift.rulebook.reading import read_rules

FILES = sorted(shipped_directory().glob("*.toml"))

SHARED_PLACES = """
    /bin /dev /etc /etc/systemd /home /home/* /lib /lib64 /media /mnt /nix /opt /persist /proc /root
    /run /sbin /srv /sys /usr /usr/local /usr/local/share /usr/share /var /var/cache /var/db /var/lib
    /var/lib/private /var/local /var/log /var/log/private /var/spool
    ~/.cache ~/.config ~/.local ~/.local/share ~/.local/state
"""
SHARED = frozenset(SHARED_PLACES.split())
"""Places of many programs: what a rule said of them would speak for strangers."""


@lru_cache
def book():
    return load([(Layer.SHIPPED, shipped_directory())])


@lru_cache
def rules_by_file():
    found = {}
    for rule in book().rules:
        found.setdefault(place(rule)[0], []).append(rule)
    return found


def rules_of(file):
    return rules_by_file().get(f"rules/{file.name}", [])


each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def listed(problems):
    return "\n".join(["", *map(str, problems)])


@each_file
def test_the_file_is_sound(file):
    _, faults = read_rules(file.read_bytes(), f"rules/{file.name}", Layer.SHIPPED)
    assert not faults, listed(faults)
    assert file.stem == file.stem.lower(), "file names are lower-case"


@each_file
def test_its_rules_decide_their_examples_and_leave_neighbours_alone(file):
    rules = rules_of(file)
    bare = sorted({rule.origin for rule in rules if not rule.examples})
    assert not bare, listed(f"{origin}: has no examples" for origin in bare)
    faults = example_faults(rules, book())
    assert not faults, listed(faults)


@each_file
def test_none_of_its_rules_claims_a_shared_place(file):
    claims = [f"{rule.origin}: {rule.pattern}" for rule in rules_of(file) if sweeps(rule.pattern)]
    assert not claims, listed(claims)


@each_file
def test_each_of_its_rules_decides_something(file):
    lost = []
    for rule in rules_of(file):
        path, _ = read_path(instance(rule.pattern))
        kind = Kind.FILE if rule.kind is RuleKind.FILE else Kind.DIRECTORY
        kinds = [kind] if rule.kind is not RuleKind.PATH else [Kind.DIRECTORY, Kind.FILE]
        if all(book().decide(path, kind).rule is not rule for kind in kinds):
            decider = book().decide(path, kinds[0]).rule
            lost.append(f"{rule.origin}: {rule.pattern} is always decided by {decider.origin}")
    assert not lost, listed(lost)


def test_no_pattern_is_in_two_files():
    faults = repeated_patterns(book().rules)
    assert not faults, listed(faults)


def test_a_service_has_one_file():
    first = {}
    twice = []
    for rule in book().rules:
        file = place(rule)[0]
        if first.setdefault(rule.service.casefold(), file) != file:
            twice.append(
                f"{file}: {rule.service} is the service of {first[rule.service.casefold()]}"
            )
    assert not twice, listed(sorted(set(twice)))


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
