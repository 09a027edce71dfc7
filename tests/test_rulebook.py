"""Which rule decides about a path, and that the quick way there answers as the slow one."""

import os
from functools import lru_cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drift.model import Kind, Severity, Verdict
from drift.rulebook import DEFAULT_HOMES, Decision, Layer, Rule, RuleBook, RuleKind
from drift.rulebook.patterns import compile_glob, is_glob, pattern_faults, weight
from drift.rulebook.trie import components


def rule(pattern, kind="directory", layer=Layer.SHIPPED, origin=None):
    return Rule(
        service="x",
        title="x",
        nixos=None,
        verdict=Verdict.PERSIST,
        severity=Severity.NORMAL,
        why="x",
        pattern=pattern,
        kind=RuleKind(kind),
        origin=origin or f"{layer.name} {kind} {pattern}",
        layer=layer,
    )


def decided(book, path, kind=None, homes=DEFAULT_HOMES):
    decision = book.decide(path, kind, homes)
    return decision and (decision.rule.origin, decision.anchor)


UNIT, SHIPPED, SYSTEM, USER, GIVEN = Layer


@pytest.mark.parametrize(
    ("path", "rules", "winner"),
    [
        pytest.param(b"/a/b/c", ["/a", "/a/b"], "/a/b", id="deeper"),
        pytest.param(b"/a/b", ["/a/b", "/a/*"], "/a/b", id="literal-before-glob"),
        pytest.param(b"/a/b", ["/a/*", "/**/b"], "/a/*", id="glob-before-deep"),
        pytest.param(b"/a/b/c", ["/*/b/c", "/a/*/c"], "/a/*/c", id="from-the-left"),
        pytest.param(b"/a/bc", ["/a/b*", "/a/*"], "/a/b*", id="glob-with-more-letters"),
        pytest.param(b"/a/b", ["/a/**/b", "/a/b"], "/a/b", id="deep-that-matches-nothing"),
        pytest.param(b"/a/b/b", ["/a/b", "/a/**/b"], "/a/**/b", id="deep-matches-deeper"),
        pytest.param(b"/a/x/y", ["/a/**", "/a/x"], "/a/x", id="deep-at-the-end-starts-above"),
        pytest.param("/a/é".encode(), ["/a/?", "/a"], "/a/?", id="one-character-not-one-byte"),
        pytest.param(b"/home/u/x", ["/home/u", "~/x"], "~/x", id="home-by-its-depth"),
        pytest.param(b"/home/u/x", ["/home/u/x", "~/x"], "/home/u/x", id="home-is-no-literal"),
        pytest.param(b"/root/x", ["/root/x", "~/x"], "/root/x", id="roots-home-is-no-literal"),
        pytest.param(b"/root/x/y", ["~/x", "/root"], "~/x", id="root-has-a-home"),
    ],
)
def test_the_more_specific_pattern_wins(path, rules, winner):
    for order in (rules, rules[::-1]):
        book = RuleBook([rule(pattern, origin=pattern) for pattern in order])
        assert decided(book, path, Kind.DIRECTORY)[0] == winner


def test_of_equal_patterns_the_later_layer_then_the_kind_then_the_place_wins():
    rules = [
        rule("/a", "path", USER, origin="later layer"),
        rule("/a", "file", SYSTEM, origin="file"),
        rule("/a", "path", SYSTEM, origin="path"),
        rule("/a", "path", SYSTEM, origin="later path"),
        rule("/a", "file", SHIPPED, origin="shipped"),
    ]
    winners = []
    while rules:
        winners.append(decided(RuleBook(rules), b"/a", Kind.FILE)[0])
        rules = [rule for rule in rules if rule.origin != winners[-1]]
    assert winners == ["later layer", "file", "later path", "path", "shipped"]


def test_a_literal_file_rule_beats_a_later_one_whose_end_matches_nothing():
    book = RuleBook([rule("/a/b", "file"), rule("/a/b/**", "file", USER)])
    assert decided(book, b"/a/b", Kind.FILE) == ("SHIPPED file /a/b", b"/a/b")
    assert decided(book, b"/a/b/c", Kind.FILE) == ("USER file /a/b/**", b"/a/b/c")


def test_a_home_and_the_same_place_for_all_homes_leave_it_to_the_layer():
    for first, second in (("~/x", "/home/*/x"), ("/home/*/x", "~/x")):
        book = RuleBook([rule(first, layer=USER), rule(second, layer=SHIPPED)])
        assert decided(book, b"/home/u/x")[0].startswith("USER")


def test_any_rule_of_a_file_beats_a_units():
    book = RuleBook([rule("/var/lib/x/cache", layer=UNIT), rule("/var/*/x")])
    assert decided(book, b"/var/lib/x/cache/1") == ("SHIPPED directory /var/*/x", b"/var/lib/x")
    position = book.walk().enter(b"var").enter(b"lib").enter(b"x")
    assert position.final


@pytest.mark.parametrize(
    ("kind", "directory", "file", "path"),
    [
        (Kind.DIRECTORY, True, False, True),
        (Kind.SUBVOLUME, True, False, True),
        (Kind.FILE, False, True, True),
        (Kind.SOCKET, False, True, True),
        (Kind.SYMLINK, True, True, True),
        (None, True, True, True),
    ],
)
def test_what_a_rule_matches_depends_on_its_kind(kind, directory, file, path):
    matched = [
        RuleBook([rule("/var/lib/x", by)]).decide(b"/var/lib/x", kind) is not None
        for by in ("directory", "file", "path")
    ]
    assert matched == [directory, file, path]


def test_a_path_rule_speaks_for_what_is_below_a_file_rule_does_not():
    book = RuleBook([rule("/a", "path"), rule("/b", "file")])
    assert decided(book, b"/a/x/y") == ("SHIPPED path /a", b"/a")
    assert decided(book, b"/b/x") is None


def test_home_rules_hold_in_every_given_home_and_nowhere_else():
    book = RuleBook([rule("~/.ssh")])
    homes = [b"/home/alice", b"/srv/people/bob/", b"/", b"/home/*"[:-1] + b"[x]"]
    assert decided(book, b"/home/alice/.ssh/id", None, homes)[1] == b"/home/alice/.ssh"
    assert decided(book, b"/srv/people/bob/.ssh", None, homes)[1] == b"/srv/people/bob/.ssh"
    assert decided(book, b"/home/[x]/.ssh", None, homes)[1] == b"/home/[x]/.ssh"
    assert decided(book, b"/home/carol/.ssh", None, homes) is None
    assert decided(book, b"/.ssh", None, homes) is None
    assert decided(book, b"/home/carol/.ssh")[1] == b"/home/carol/.ssh"


def test_a_home_in_a_home_has_rules_of_its_own():
    book = RuleBook([rule("~/x")])
    assert decided(book, b"/h/a/x", None, [b"/h", b"/h/a"])[1] == b"/h/a/x"
    assert decided(book, b"/h/x/x", None, [b"/h", b"/h/x"])[1] == b"/h/x/x"


def test_adding_rules_leaves_the_book_as_it_was():
    book = RuleBook([rule("/var/lib/x"), rule("~/x")])
    more = book.with_rules([rule("/var/lib/y", layer=UNIT), rule("~/x/*", "file", GIVEN)])
    assert [decided(book, path) for path in (b"/var/lib/y", b"/root/x/1")] == [
        None,
        ("SHIPPED directory ~/x", b"/root/x"),
    ]
    assert [decided(more, path) for path in (b"/var/lib/x", b"/var/lib/y", b"/root/x/1")] == [
        ("SHIPPED directory /var/lib/x", b"/var/lib/x"),
        ("UNIT directory /var/lib/y", b"/var/lib/y"),
        ("GIVEN file ~/x/*", b"/root/x/1"),
    ]
    assert len(book.rules) == 2
    assert [rule.pattern for rule in more.rules] == ["/var/lib/x", "~/x", "/var/lib/y", "~/x/*"]


def test_a_unit_may_name_bytes_that_are_no_text():
    book = RuleBook([rule(os.fsdecode(b"/var/lib/\xff"), layer=UNIT)])
    assert decided(book, b"/var/lib/\xff")[1] == b"/var/lib/\xff"


def test_where_nothing_more_can_be_decided_one_position_serves_all():
    book = RuleBook([rule("/var/lib/x")])
    var = book.walk().enter(b"var")
    assert var.enter(b"log") is var.enter(b"cache").enter(b"x")
    here = var.enter(b"lib").enter(b"x")
    assert (here.final, here.depth, here.rule) == (True, 3, rule("/var/lib/x"))
    assert here.enter(b"y") is here
    assert here.entry(b"y", Kind.FILE) == (here.rule, 3)


def test_the_root_itself_is_decided_by_nothing():
    assert RuleBook([rule("/*")]).decide(b"/", Kind.DIRECTORY) is None


# The slow way: every rule against every prefix of the path.

parts = st.sampled_from(["a", "b", "ab", "*", "?", "a*", "*b", "**", "home", "root"])
patterns = st.builds(
    lambda start, rest: start + "/".join(rest),
    st.sampled_from(["/", "/home/", "~/"]),
    st.lists(parts, min_size=1, max_size=4),
).filter(lambda pattern: not pattern_faults(pattern))
rules = st.lists(
    st.builds(
        rule, patterns, st.sampled_from(["directory", "file", "path"]), st.sampled_from(Layer)
    ),
    max_size=8,
)
names = st.sampled_from([b"a", b"b", b"ab", b"ba", b"home", b"root", b"\xff"])
paths = st.lists(names, min_size=1, max_size=5)
homes = st.sampled_from([DEFAULT_HOMES, (b"/home/a", b"/home/a/b"), ()])
kinds = st.sampled_from([*Kind, None])


def alignments(pattern, path):
    """Every way in which the components match the whole path, as how specific each is."""

    @lru_cache
    def ways(at, here):
        if at == len(pattern):
            return {(1,)} if here == len(path) else set()
        found = set()
        if pattern[at] == b"**":
            for end in range(here, len(path) + 1):
                found |= {(0, *way) for way in ways(at + 1, end)}
        elif here < len(path) and (
            compile_glob(pattern[at]).matches(path[here])
            if is_glob(pattern[at])
            else pattern[at] == path[here]
        ):
            found |= {(weight(pattern[at]), *way) for way in ways(at + 1, here + 1)}
        return found

    return ways(0, 0)


def is_home(path, homes):
    place = b"/" + b"/".join(path)
    if homes is DEFAULT_HOMES:
        return place == b"/root" or (path[0] == b"home" and len(path) == 2)
    return place in homes


def by_trying_all(rules, path, kind, homes):
    best = None
    for place, rule in enumerate(rules):
        below_home, pattern = components(rule.pattern, rule.kind)
        for depth in range(1, len(path) + 1):
            inside = depth < len(path) or kind in (Kind.DIRECTORY, Kind.SUBVOLUME)
            either = depth == len(path) and kind in (None, Kind.SYMLINK)
            if not either and rule.kind is (RuleKind.FILE if inside else RuleKind.DIRECTORY):
                continue
            starts = [n for n in range(1, depth) if is_home(path[:n], homes)] if below_home else [0]
            for start in starts:
                before = (255,) * (start - 1) + (2,) * bool(start)
                for way in alignments(tuple(pattern), tuple(path[start:depth])):
                    rank = (rule.layer, rule.kind is not RuleKind.PATH, place)
                    key = (rule.layer is not Layer.UNIT, depth, before + way, rank)
                    if best is None or key > best[0]:
                        best = (key, Decision(rule, b"/" + b"/".join(path[:depth])))
    return best and best[1]


@settings(max_examples=400, deadline=None)
@given(rules, st.lists(st.tuples(paths, kinds), max_size=6), homes)
def test_the_trie_decides_as_trying_every_rule_does(rules, asked, homes):
    half = len(rules) // 2
    for book in (RuleBook(rules), RuleBook(rules[:half]).with_rules(rules[half:])):
        # One book answers all, so that what an earlier path left behind is met by a later one.
        for path, kind in asked:
            expected = by_trying_all(rules, path, kind, homes)
            assert book.decide(b"/" + b"/".join(path), kind, homes) == expected


@settings(max_examples=200, deadline=None)
@given(rules, paths, paths, homes)
def test_what_a_position_promises_holds_for_all_below(rules, path, below, homes):
    position = RuleBook(rules).walk(homes)
    for name in path:
        position = position.enter(name)
    here = (position.rule, position.depth)
    if not position.decides_entries:
        assert position.entry(below[0], Kind.FILE) == here
        assert position.entry(below[0], Kind.SYMLINK) == here
    if position.final:
        for name in below:
            assert position.entry(name, Kind.SYMLINK) == here
            position = position.enter(name)
            assert (position.rule, position.depth) == here
