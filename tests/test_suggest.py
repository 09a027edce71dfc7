"""From judged entries to the exact lists."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from suggest_lab import FakeAccounts, entry, file, suggestion

from drift import caveats
from drift.choice import temporary_beside
from drift.model import Kind, Severity, Status, Verdict
from drift.places import ancestors, shared
from drift.render.suggest_json import render_json
from drift.suggestion import Owner

ALICE = {"uid": 1000, "gid": 100}


def lists(made):
    """Absolute paths: directories, files, and for each user both."""
    found: dict[str, Any] = {
        "directories": [directory.path for directory in made.directories],
        "files": [(one.path, one.method) for one in made.files],
    }
    for user in made.users:
        found[user.name] = (
            [directory.path for directory in user.directories],
            [(one.path, one.method) for one in user.files],
        )
    return {name: value for name, value in found.items() if value and value != ([], [])}


def said(made):
    return {(advice.path, advice.say) for advice in made.advice}


PRIVATE = {b"/var/lib/private/blocky": (61500, 61500, 0o755)}
BLOCKY = {"advice": "persist /var/lib/private/blocky: /var/lib/blocky is only a link to it"}
RENAMED = {"replaced": True}
LINKED = {"replaced": True, "method": "symlink"}


@pytest.mark.parametrize(
    ("entries", "more", "expected"),
    [
        pytest.param(
            [entry(b"/var/lib/bluetooth"), file(b"/etc/machine-id")],
            {},
            {"directories": [b"/var/lib/bluetooth"], "files": [(b"/etc/machine-id", "auto")]},
            id="directory-and-file",
        ),
        pytest.param(
            [
                entry(b"/home/alice/Documents", **ALICE),
                file(b"/home/alice/.screenrc", **ALICE),
                entry(b"/home/bob/.ssh", uid=1001, gid=1001, mode=0o700),
            ],
            {},
            {
                "alice": ([b"Documents"], [(b".screenrc", "auto")]),
                "bob": ([b".ssh"], []),
            },
            id="homes-under-their-users",
        ),
        pytest.param(
            [entry(b"/root/.ssh", mode=0o700)],
            {},
            {"directories": [b"/root/.ssh"]},
            id="root's-home-as-system-paths",
        ),
        pytest.param(
            [entry(b"/var/lib/foo"), entry(b"/var/lib/foo/data"), file(b"/var/lib/foo/data/key")],
            {},
            {"directories": [b"/var/lib/foo"]},
            id="nothing-nested",
        ),
        pytest.param(
            [entry(b"/var/lib/foo"), entry(b"/var/lib/foo-data"), entry(b"/var/lib/foobar")],
            {},
            {"directories": [b"/var/lib/foo", b"/var/lib/foo-data", b"/var/lib/foobar"]},
            id="a-common-prefix-is-no-nesting",
        ),
        pytest.param(
            [entry(b"/var/lib/foo"), entry(b"/var/lib/foo")],
            {},
            {"directories": [b"/var/lib/foo"]},
            id="no-duplicates",
        ),
        pytest.param(
            [entry(b"/var/lib/foo"), entry(b"/var/log/foo"), file(b"/etc/machine-id")],
            {"kept": [b"/var/lib", b"/etc/machine-id"]},
            {"directories": [b"/var/log/foo"]},
            id="nothing-kept-already",
        ),
        pytest.param(
            [entry(b"/srv/www", files=0)],
            {"kept": [b"/srv/www/data"]},
            {},
            id="no-empty-stub-of-a-mount-point",
        ),
        pytest.param(
            [
                entry(b"/etc"),
                entry(b"/var/lib"),
                entry(b"/home/alice", **ALICE),
                entry(b"/home"),
                entry(b"/home/alice/.config", **ALICE),
                entry(b"/root"),
                entry(b"/srv"),
            ],
            {},
            {},
            id="no-shared-place",
        ),
        pytest.param(
            [entry(b"/var/log")], {}, {"directories": [b"/var/log"]}, id="var-log-where-ruled"
        ),
        pytest.param([entry(b"/var/log", anchor=b"/")], {}, {}, id="var-log-not-where-unruled"),
        pytest.param(
            [file(b"/var/log/journal/system.journal", anchor=b"/var/log")],
            {"directories": {b"/var/log": (0, 0, 0o755)}},
            {"directories": [b"/var/log"]},
            id="the-directory-that-the-rule-speaks-for",
        ),
        pytest.param(
            [
                file(
                    b"/etc/NetworkManager/system-connections/home",
                    anchor=b"/etc/NetworkManager/system-connections",
                )
            ],
            {"directories": {b"/etc/NetworkManager/system-connections": (0, 0, 0o700)}},
            {"directories": [b"/etc/NetworkManager/system-connections"]},
            id="a-new-file-in-a-ruled-directory",
        ),
        pytest.param(
            [entry(b"/var/lib/foo/data", anchor=b"/var/lib/foo")],
            {"directories": {b"/var/lib/foo": (0, 0, 0o755)}, "kept": [b"/var/lib/foo/cache"]},
            {"directories": [b"/var/lib/foo/data"]},
            id="not-the-ruled-directory-when-part-of-it-is-kept",
        ),
        pytest.param(
            [
                entry(b"/etc/localtime", kind)
                for kind in (Kind.SYMLINK, Kind.FIFO, Kind.SOCKET, Kind.CHARACTER, Kind.BLOCK)
            ],
            {},
            {},
            id="only-files-and-directories",
        ),
        pytest.param(
            [entry(b"/var/lib/machines/web", Kind.SUBVOLUME)],
            {},
            {"directories": [b"/var/lib/machines/web"]},
            id="a-nested-subvolume-as-its-directory",
        ),
        pytest.param(
            [file(b"/etc/passwd.old", status=Status.DELETED)], {}, {}, id="nothing-deleted"
        ),
        pytest.param(
            [file(b"/home/alice/.local/share/fish/fish_history", rule=RENAMED, **ALICE)],
            {},
            {"alice": ([b".local/share/fish"], [])},
            id="replaced-file-by-its-directory",
        ),
        pytest.param(
            [file(b"/var/lib/foo/state", replaced=True)],
            {},
            {"directories": [b"/var/lib/foo"]},
            id="replaced-file-as-seen-in-the-data",
        ),
        pytest.param(
            [file(b"/home/alice/.zsh_history", rule=LINKED, **ALICE)],
            {},
            {"alice": ([], [(b".zsh_history", "symlink")])},
            id="replaced-file-as-a-link-where-links-are-followed",
        ),
        pytest.param(
            [
                file(b"/home/alice/.config/monitors.xml", rule=RENAMED, **ALICE),
                file(b"/etc/adjtime", rule=RENAMED),
            ],
            {},
            {},
            id="replaced-file-in-a-shared-place-only-as-advice",
        ),
        pytest.param(
            [file(b"/var/lib/foo/state")],
            {"names": {b"/var/lib/foo": [b"state", b".state.swp"]}},
            {"directories": [b"/var/lib/foo"]},
            id="replaced-file-by-the-temporary-one-beside-it",
        ),
        pytest.param(
            [file(b"/home/alice/.screenrc", rule={"method": "symlink"}, **ALICE)],
            {"names": {b"/home/alice": [b".screenrc", b".screenrc.aB3xYz"]}},
            {"alice": ([], [(b".screenrc", "symlink")])},
            id="a-link-where-they-are-followed-and-a-temporary-file-is-beside",
        ),
        pytest.param(
            [file(b"/etc/ssh/ssh_host_rsa_key", replaced=True)],
            {},
            {},
            id="never-a-directory-that-nixos-fills",
        ),
        pytest.param(
            [
                file(b"/etc/foo/state", rule=RENAMED),
                entry(b"/etc/foo/foo.conf", Kind.SYMLINK, Verdict.REGENERATED),
            ],
            {},
            {},
            id="never-a-directory-in-which-nixos-makes-something",
        ),
        pytest.param(
            [
                entry(b"/var/lib/blocky", Kind.SYMLINK, rule=BLOCKY),
                entry(b"/var/lib/private/blocky", uid=61500, gid=61500),
            ],
            {"directories": PRIVATE},
            {"directories": [b"/var/lib/private/blocky"]},
            id="dynamic-user-and-its-link",
        ),
        pytest.param(
            [entry(b"/var/lib/blocky", Kind.SYMLINK)],
            {"directories": PRIVATE},
            {"directories": [b"/var/lib/private/blocky"]},
            id="dynamic-user-by-its-link-alone",
        ),
        pytest.param(
            [entry(b"/var/lib/blocky", rule=BLOCKY, uid=994, gid=994)],
            {},
            {"directories": [b"/var/lib/blocky"]},
            id="a-real-directory-of-a-service-that-is-usually-dynamic",
        ),
        pytest.param(
            [entry(b"/var/lib/blocky", Kind.SYMLINK, rule=BLOCKY)],
            {},
            {},
            id="a-dangling-link-of-a-dynamic-user",
        ),
        pytest.param(
            [entry(b"/var/lib/blocky", Kind.SYMLINK, rule=BLOCKY)],
            {"directories": PRIVATE, "kept": [b"/var/lib/private"]},
            {},
            id="a-dynamic-user-that-is-kept",
        ),
        pytest.param(
            [
                entry(b"/var/lib/foo", verdict=Verdict.REVIEW),
                entry(b"/var/cache/foo", verdict=Verdict.EPHEMERAL),
                entry(b"/etc/passwd", Kind.FILE, Verdict.REGENERATED),
                entry(b"/nix/foo", verdict=Verdict.KEPT),
            ],
            {},
            {},
            id="only-what-is-worth-it",
        ),
        pytest.param(
            [entry(b"/etc/ssh", files=0), file(b"/etc/ssh/ssh_host_rsa_key")],
            {},
            {"files": [(b"/etc/ssh/ssh_host_rsa_key", "auto")]},
            id="files-by-name-in-a-directory-that-nixos-fills",
        ),
        pytest.param(
            [
                entry(b"/etc/foo"),
                entry(b"/etc/foo/foo.conf", Kind.SYMLINK, Verdict.REGENERATED),
            ],
            {},
            {},
            id="no-directory-of-etc-in-which-activation-puts-something",
        ),
        pytest.param(
            [
                entry(b"/var/lib/private", files=0, mode=0o700),
                entry(b"/var/lib/private/blocky", uid=61500, gid=61500),
            ],
            {"directories": PRIVATE},
            {"directories": [b"/var/lib/private/blocky"]},
            id="dynamic-users-by-name",
        ),
        pytest.param(
            [entry(b"/var/lib/foo", files=0), entry(b"/var/lib/foo/data")],
            {},
            {"directories": [b"/var/lib/foo"]},
            id="a-directory-where-everything-is-state",
        ),
        pytest.param(
            [
                entry(b"/var/lib/foo", files=0),
                entry(b"/var/lib/foo/data"),
                entry(b"/var/lib/foo/cache", verdict=Verdict.EPHEMERAL),
            ],
            {},
            {"directories": [b"/var/lib/foo/data"]},
            id="parts-of-a-directory-that-holds-other-things-too",
        ),
        pytest.param(
            [
                entry(b"/var/log", files=0),
                entry(b"/var/log/journal"),
                entry(b"/var/log/foo", verdict=Verdict.EPHEMERAL),
            ],
            {},
            {"directories": [b"/var/log"]},
            id="logs-whole",
        ),
        pytest.param(
            [entry(b"/var/lib/foo", verdict=Verdict.REVIEW)],
            {"all_entries": True},
            {"directories": [b"/var/lib/foo"]},
            id="review-too-with-all",
        ),
    ],
)
def test_entries_become_lists(entries, more, expected):
    assert lists(suggestion(*entries, **more)) == expected


@pytest.mark.parametrize(
    "name",
    [
        b".state.swp",
        b".state.swo",
        b"state.tmp",
        b".state.tmp",
        b"state.new",
        b"state.NEW",
        b"state.tmp.1234",
        b"state.tmp-4f2a",
        b"state.1234.tmp",
        b"state.aB3xYz",
        b".state.aB3xYz",
        b".stateaB3xYz",
        b".#state0123456789abcdef",
    ],
)
def test_a_temporary_file_is_known_by_its_name(name):
    assert temporary_beside(b"state", [b"other", b"state", name]) == name


@pytest.mark.parametrize(
    "name",
    [
        b"state",
        b"state.bak",
        b"state.backup",
        b"state.Backup",
        b"state.SECOND",
        b"state.sha256",
        b"state.202401",
        b"other.tmp",
        b"state-old.tmp",
        b"xstate.tmp",
        b"state.swp",
        b"stat*.tmp",
        b"\xff.tmp",
    ],
)
def test_other_files_beside_are_not_taken_for_temporary_ones(name):
    assert temporary_beside(b"state", [name]) is None


def test_odd_names_are_compared_as_they_are():
    assert temporary_beside(b"a%s.*[\xff", [b"a%s.*[\xff.tmp"]) == b"a%s.*[\xff.tmp"


def test_what_lies_beside_is_named_where_nothing_can_be_suggested():
    made = suggestion(file(b"/etc/odd"), names={b"/etc": [b"odd", b"odd.tmp"]})
    assert said(made) == {(b"/etc/odd", caveats.written_beside(b"odd.tmp"))}


CACHES = (
    entry(b"/var/cache/ccache", severity=Severity.LOW, bytes=5 << 30),
    entry(b"/var/cache/davfs2"),
    entry(b"/home/alice/.cache/borg", severity=Severity.LOW, **ALICE),
    entry(b"/home/alice/.emacs.d/eln-cache", severity=Severity.LOW, **ALICE),
    entry(b"/home/alice/Documents", **ALICE),
    entry(b"/var/lib/low", severity=Severity.LOW),
    entry(b"/root/.cache/nix", severity=Severity.LOW),
)


def test_caches_worth_keeping_go_to_a_second_store():
    made = suggestion(*CACHES, cache=b"/cache")
    assert lists(made) == {
        "directories": [b"/var/cache/davfs2", b"/var/lib/low"],
        "alice": ([b"Documents"], []),
    }
    assert made.cache is not None
    assert made.cache.persist == b"/cache"
    assert lists(made.cache) == {
        "directories": [b"/var/cache/ccache", b"/root/.cache/nix"],
        "alice": ([b".cache/borg", b".emacs.d/eln-cache"], []),
    }
    assert (b"/var/cache/ccache", "5.0 GiB: /cache needs room for it") in said(made)


@pytest.mark.parametrize("cache", [None, b"/persist"])
def test_without_a_second_store_caches_go_where_all_goes(cache):
    made = suggestion(*CACHES, cache=cache)
    assert made.cache is None
    assert (
        b"/var/cache/ccache",
        "5.0 GiB: /persist needs room for it; as a cache it can go to a second store, with --cache PATH",
    ) in said(made)
    assert len(lists(made)["directories"]) == 4


def test_no_second_store_without_caches():
    assert suggestion(entry(b"/var/lib/foo"), cache=b"/cache").cache is None


def test_json_has_the_second_store_where_there_is_one():
    made = suggestion(entry(b"/var/cache/ccache", severity=Severity.LOW), cache=b"/cache")
    found = json.loads(render_json(made))
    assert found["directories"] == []
    assert found["cache"] == {
        "persist": "/cache",
        "directories": [
            {
                "directory": "/var/cache/ccache",
                "user": "root",
                "group": "root",
                "mode": "0755",
                "service": "ccache",
                "why": "its state",
                "files": 1,
                "bytes": 1000,
            }
        ],
        "files": [],
        "users": {},
    }


def test_the_live_owner_wins_over_the_rule():
    made = suggestion(
        entry(
            b"/var/lib/colord",
            uid=999,
            gid=999,
            mode=0o750,
            rule={"user": "root", "group": "root", "mode": 0o700},
        )
    )
    assert [directory.owner for directory in made.directories] == [Owner("colord", "colord", 0o750)]


def test_the_rule_speaks_where_the_live_owner_is_unknown():
    made = suggestion(
        entry(
            b"/var/lib/acme",
            mode=0,
            rule={"user": "acme", "group": "acme", "mode": 0o750},
        )
    )
    assert [directory.owner for directory in made.directories] == [Owner("acme", "acme", 0o750)]


def test_an_id_without_a_name_is_its_number_and_explained():
    made = suggestion(entry(b"/var/lib/foo", uid=1234, gid=100))
    assert made.directories[0].owner == Owner("1234", "users", 0o755)
    assert said(made) == {
        (b"/var/lib/foo", "its user 1234 has no name here: it is written as a number")
    }


def test_a_dynamic_users_directory_is_roots_and_its_parent_closed():
    made = suggestion(
        entry(b"/var/lib/private/blocky", uid=65534, gid=65534, mode=0o755), directories=PRIVATE
    )
    assert made.directories[0].owner == Owner("root", "root", 0o755)
    assert said(made) == {
        (
            b"/var/lib/private",
            (
                "unless /persist/var/lib/private exists, impermanence makes it root:root 0755 and this"
                " one too: first run install -d -m 0700 -o root -g root /persist/var/lib/private"
            ),
        )
    }


def test_a_files_parent_keeps_its_owner():
    made = suggestion(
        file(b"/var/lib/foo/token", mode=0o600),
        file(b"/home/alice/.config/foo/rc", **ALICE),
        directories={
            b"/var/lib/foo": (999, 999, 0o750),
            b"/home/alice/.config/foo": (1000, 100, 0o700),
        },
    )
    assert [one.parent for one in made.files] == [Owner("colord", "colord", 0o750)]
    assert [one.parent for one in made.users[0].files] == [Owner("alice", "users", 0o700)]
    assert [one.owner for one in made.files] == [Owner("root", "root", 0o600)]


@pytest.mark.parametrize(
    ("one", "say"),
    [
        (entry(b"/var/lib/machines/web", Kind.SUBVOLUME), caveats.SUBVOLUME),
        (entry(b"/srv"), caveats.SHARED),
        (entry(b"/etc/ssh"), caveats.FILLED),
        (file(b"/etc/adjtime", rule=RENAMED), caveats.REPLACED),
        (file(b"/etc/adjtime", replaced=True), caveats.SEEN_REPLACED),
        (file(b"/etc/odd", replaced=True, rule={"advice": "declare it"}), "declare it"),
        (file(b"/etc/foo", status=Status.DELETED), caveats.DELETED),
        (
            entry(b"/etc/localtime", Kind.SYMLINK, rule={"advice": "declare time.timeZone"}),
            "declare time.timeZone",
        ),
        (
            entry(b"/etc/shadow", Kind.FILE, Verdict.REGENERATED, rule={"advice": "use hashes"}),
            "use hashes",
        ),
        (
            entry(b"/run/foo", Kind.SOCKET),
            "a socket can't be persisted: its program makes it again",
        ),
        (entry(b"/var/lib/foo", bytes=5 << 30), "5.0 GiB: /persist needs room for it"),
        (
            entry(b"/var/lib/foo", uid=65534, gid=65534),
            (
                "its owner nobody is nobody in particular: see which service it belongs to before"
                " persisting it"
            ),
        ),
        (
            entry(b"/root/.ssh", mode=0o755),
            "open to others (mode 0755, where 0700 is usual) and kept as it is: close it first",
        ),
        (
            file(b"/etc/foo/tls.key", mode=0o644),
            "open to others (mode 0644, where 0600 is usual) and kept as it is: close it first",
        ),
        (
            entry(b"/var/lib/tailscale", rule={"mode": 0o700}),
            "open to others (mode 0755, where 0700 is usual) and kept as it is: close it first",
        ),
        (
            entry("/home/alice/Música".encode(), **ALICE),
            (
                "NixOS can't name a mount unit for these characters, so it stays unmounted and is lost:"
                " rename it, or bind-mount it through fileSystems with nofail"
            ),
        ),
        (
            entry(b"/var/lib/100%"),
            (
                "NixOS can't name a mount unit for these characters, so it stays unmounted and is lost:"
                " rename it, or bind-mount it through fileSystems with nofail"
            ),
        ),
        (
            entry(b"/var/lib/" + b"-" * 70),
            "its path is too long for a mount unit's name: persist a directory above it",
        ),
        (entry(b"/var/lib/f\xff"), "left out of the Nix text: its name is not UTF-8; rename it"),
    ],
    ids=lambda value: value.path.decode(errors="replace")[:24] if hasattr(value, "path") else "",
)
def test_what_would_surprise_is_said(one, say):
    assert (one.path, say) in said(suggestion(one))


@pytest.mark.parametrize(
    "one",
    [
        entry(b"/root/.ssh", mode=0o700),
        entry(b"/var/lib/foo bar"),
        file(b"/etc/ssh/ssh_host_rsa_key.pub"),
        entry(b"/var/lib/foo", bytes=1 << 30),
        file("/home/alice/Música.txt".encode(), **ALICE),
    ],
    ids=lambda one: one.path.decode(),
)
def test_what_is_usual_is_not_said(one):
    assert [advice for advice in suggestion(one).advice if advice.path == one.path] == []


def test_a_parent_that_is_not_open_is_said_with_its_command():
    made = suggestion(entry(b"/var/lib/foo/data"), directories={b"/var/lib/foo": (999, 999, 0o750)})
    assert said(made) == {
        (
            b"/var/lib/foo",
            (
                "unless /persist/var/lib/foo exists, impermanence makes it root:root 0755 and this one"
                " too: first run install -d -m 0750 -o colord -g colord /persist/var/lib/foo"
            ),
        )
    }


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ((999, 999, 0o750), set()),
        (
            (0, 0, 0o755),
            {
                (
                    b"/var/lib/foo",
                    (
                        "/persist/var/lib/foo is root:root 0755, and impermanence makes this one the"
                        " same: first run install -d -m 0750 -o colord -g colord"
                        " /persist/var/lib/foo"
                    ),
                )
            },
        ),
    ],
    ids=["as-here", "differently"],
)
def test_a_parent_that_the_store_has_is_looked_at(stored, expected):
    there = {b"/var/lib/foo": (999, 999, 0o750), b"/persist/var/lib/foo": stored}
    assert said(suggestion(entry(b"/var/lib/foo/data"), directories=there)) == expected


def test_owners_with_allocated_ids_need_the_map_of_ids():
    one = entry(b"/var/lib/acme", uid=994, gid=994)
    expected = (
        b"/var/lib/nixos",
        (
            "persist it as well: without it NixOS may give other numbers to acme after the reboot,"
            " and files keep the old ones"
        ),
    )
    assert expected in said(suggestion(one))
    assert said(suggestion(one, entry(b"/var/lib/nixos"))) == set()
    assert said(suggestion(one, kept=[b"/var/lib/nixos"])) == set()


def test_the_gravest_service_comes_first_then_names():
    made = suggestion(
        entry(b"/var/lib/b", service="zeta", severity=Severity.CRITICAL),
        entry(b"/var/lib/d", service="alpha"),
        entry(b"/var/lib/c", service="alpha"),
        entry(b"/var/lib/a", service="zeta", severity=Severity.LOW),
        entry(b"/var/lib/e", service="mid", severity=Severity.HIGH),
    )
    assert [directory.path[-1:] for directory in made.directories] == [b"a", b"b", b"e", b"c", b"d"]


def test_what_a_directory_holds_counts_for_it():
    made = suggestion(
        entry(b"/var/lib/foo", files=2, bytes=10),
        file(b"/var/lib/foo/key", files=1, bytes=5),
    )
    assert [(one.files, one.bytes) for one in made.directories] == [(3, 15)]


def test_review_is_left_with_its_owners_names_and_without_what_is_suggested():
    made = suggestion(
        entry(b"/home/alice/foo", verdict=Verdict.REVIEW, **ALICE),
        entry(b"/var/lib/foo/bar", verdict=Verdict.REVIEW),
        entry(b"/var/lib/kept/foo", verdict=Verdict.REVIEW),
        entry(b"/var/lib/foo"),
        kept=[b"/var/lib/kept"],
    )
    assert [(one.path, one.finding.user, one.finding.group) for one in made.review] == [
        (b"/home/alice/foo", "alice", "users")
    ]
    assert [(user.name, user.home) for user in made.users] == [("alice", b"/home/alice")]


def test_without_a_passwd_the_homes_group_is_the_primary_one():
    made = suggestion(entry(b"/home/bob/foo", uid=1001, gid=1001), accounts=FakeAccounts(users={}))
    assert [user.group for user in made.users] == ["bob"]


def test_the_order_of_entries_does_not_matter():
    entries = [
        entry(b"/var/lib/foo", **ALICE),
        file(b"/var/lib/foo/x", service="foo"),
        file(b"/home/alice/.zsh_history", rule=LINKED, **ALICE),
        entry(b"/var/lib/blocky", Kind.SYMLINK),
        entry(b"/home/bob/x", verdict=Verdict.REVIEW),
    ]
    forward = suggestion(*entries, directories=PRIVATE)
    assert suggestion(*entries[::-1], directories=PRIVATE) == forward


PARTS = st.sampled_from([b"a", b"b", b"\xff", b".config", b"var", b"lib", b"home", b"alice"])
PATHS = st.lists(PARTS, min_size=1, max_size=4).map(lambda parts: b"/" + b"/".join(parts))
ENTRIES = st.builds(
    lambda path, kind, verdict, renamed: entry(path, kind, verdict, replaced=renamed),
    PATHS,
    st.sampled_from(Kind),
    st.sampled_from(Verdict),
    st.booleans(),
)


@settings(deadline=None)
@given(st.lists(ENTRIES, max_size=8), st.lists(PATHS, max_size=2), st.booleans())
def test_no_suggestion_nests_repeats_is_kept_or_shared(entries, kept, everything):
    made = suggestion(*entries, kept=kept, all_entries=everything)
    homes = [b"/home/alice", b"/home/bob"]
    directories = [one.path for one in made.directories]
    files = [one.path for one in made.files]
    for user in made.users:
        directories += [user.home + b"/" + one.path for one in user.directories]
        files += [user.home + b"/" + one.path for one in user.files]
    every = directories + files
    assert len(set(every)) == len(every)
    for path in every:
        above = {*ancestors(path), path}
        assert above.isdisjoint(kept)
        assert {*ancestors(path)}.isdisjoint(directories)
    for path in directories:
        assert not shared(path, homes, anchored=True)


def test_json_holds_every_byte_and_every_owner():
    made = suggestion(
        entry(b"/var/lib/f\xff", uid=999, gid=999, mode=0o2750),
        file(b"/etc/machine-id", mode=0o444),
        entry(b"/home/alice/Documents", **ALICE),
        file(b"/home/alice/odd\n", verdict=Verdict.REVIEW, **ALICE),
    )
    text = render_json(made)
    assert text.isascii()
    assert json.loads(text) == {
        "schema": "drift.suggest/1",
        "persist": "/persist",
        "directories": [
            {
                "directory": "/var/lib/f\udcff",
                "user": "colord",
                "group": "colord",
                "mode": "2750",
                "service": "f\ufffd",
                "why": "its state",
                "files": 1,
                "bytes": 1000,
            }
        ],
        "files": [
            {
                "file": "/etc/machine-id",
                "parentDirectory": {"user": "root", "group": "root", "mode": "0755"},
                "method": "auto",
                "service": "machine-id",
                "why": "its state",
                "bytes": 1000,
            }
        ],
        "users": {
            "alice": {
                "directories": [
                    {
                        "directory": "Documents",
                        "user": "alice",
                        "group": "users",
                        "mode": "0755",
                        "service": "Documents",
                        "why": "its state",
                        "files": 1,
                        "bytes": 1000,
                    }
                ],
                "files": [],
            }
        },
        "review": [
            {
                "path": "/home/alice/odd\n",
                "kind": "file",
                "status": "A",
                "verdict": "review",
                "service": "odd\n",
                "why": "not recognised",
                "rule": "rules/odd\n.toml:5",
                "files": 1,
                "bytes": 1000,
                "newest": 1699827200.0,
                "uid": 1000,
                "gid": 100,
                "user": "alice",
                "group": "users",
                "mode": "0644",
            }
        ],
        "advice": [
            {
                "path": "/var/lib/f\udcff",
                "say": "left out of the Nix text: its name is not UTF-8; rename it",
            },
            {
                "path": "/var/lib/nixos",
                "say": "persist it as well: without it NixOS may give other numbers to colord"
                " after the reboot, and files keep the old ones",
            },
        ],
    }
