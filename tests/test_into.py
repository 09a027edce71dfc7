"""Reading .nix files, and adding to them nothing but what is missing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nix_lab import check_module, parse
from suggest_lab import entry, file, suggestion

from drift.errors import DriftError
from drift.model import Severity
from drift.nixfile import Declared, LeftOut, Paths, Store, Unresolved, add_missing, read_declared

ALICE = {"uid": 1000, "gid": 100}
STYLES = Path(__file__).parent / "nix" / "styles"
UNCLEAR = Path(__file__).parent / "nix" / "unclear"
NAMES = sorted(path.stem for path in STYLES.glob("*.nix") if not path.stem.endswith(".after"))

MISSING = suggestion(
    entry(b"/var/log", title="Logs", why="logs of the system"),
    entry(b"/var/lib/bluetooth", title="Bluetooth", why="paired devices", mode=0o700),
    entry(b"/var/lib/nixos", title="NixOS", why="which name has which id"),
    file(b"/etc/machine-id", title="systemd", why="the machine's identity"),
    entry(b"/home/alice/Documents", title="Documents", why="documents", **ALICE),
    entry(b"/home/alice/.ssh", title="SSH", why="keys", mode=0o700, **ALICE),
)


def added(text, made):
    """The file with all of it; nothing may be left out."""
    done = add_missing(text, made)
    assert done.left_out == ()
    return done.text


def read(path):
    return path.read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_only_what_is_missing_is_added_in_the_files_own_style(name):
    assert added(read(STYLES / f"{name}.nix"), MISSING) == read(STYLES / f"{name}.after.nix")


@pytest.mark.parametrize("name", NAMES)
def test_adding_twice_adds_nothing(name):
    after = read(STYLES / f"{name}.after.nix")
    assert added(after, MISSING) == after


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_lost_and_nothing_moved(name):
    before, after = (
        re.findall(r"[][{};]|[^][{};\s]+", read(STYLES / f"{name}{kind}.nix").decode())
        for kind in ("", ".after")
    )
    following = iter(after)
    assert [token for token in before if token not in following] == []


@pytest.mark.nix
@pytest.mark.parametrize("name", NAMES)
def test_nix_reads_the_file_before_and_after(name):
    parse(read(STYLES / f"{name}.nix"))
    parse(read(STYLES / f"{name}.after.nix"))


# These need no library and no configuration to be evaluated.
PLAIN = sorted(set(NAMES) - {"alejandra", "flake", "let-and-variables", "merge", "with-lib-mkif"})


@pytest.mark.nix
@pytest.mark.parametrize("name", PLAIN)
def test_the_module_takes_what_was_added(name):
    done = check_module(read(STYLES / f"{name}.after.nix").decode())
    store = (done["persistence"] or done["preservation"])["/persist"]
    assert {
        "/var/log": "0755",
        "/var/lib/bluetooth": "0700",
        "/var/lib/nixos": "0755",
        "/home/alice/Documents": "0755",
        "/home/alice/.ssh": "0700",
    }.items() <= {one["path"]: one["mode"] for one in store["directories"]}.items()
    assert "/etc/machine-id" in [one["path"] for one in store["files"]]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "unknown-store",
            (
                "line 3: what environment.persistence holds can't be told without evaluating"
                " `environment.persistence.${config.my.sto…`"
            ),
        ),
        (
            "imported-block",
            (
                "line 3: what environment.persistence holds can't be told without evaluating"
                " `import ./persist.nix`"
            ),
        ),
        (
            "inherited",
            (
                "line 4: what environment.persistence holds can't be told without evaluating"
                " `directories`"
            ),
        ),
        (
            "conditional-lists",
            "directories of /persist are given under several conditions (lines 4, 5)",
        ),
        (
            "either-list",
            (
                "line 4: the directories of /persist can't be told without evaluating"
                ' `if config.a then [ "/var/lib/a" ] else …`'
            ),
        ),
        (
            "home-manager",
            "the file declares home.persistence: it is a module of home-manager, not of NixOS",
        ),
        ("two-hosts", "several modules in the file declare /persist (lines 6, 9)"),
        ("no-set", "the file is no NixOS module that drift can read: it gives no plain set"),
        ("broken", "line 3 is no Nix that drift can read"),
        ("around-in-circles", "the file is nested too deeply for drift to read"),
    ],
)
def test_what_takes_evaluation_is_named_and_left_alone(name, message):
    with pytest.raises(DriftError) as caught:
        add_missing(read(UNCLEAR / f"{name}.nix"), MISSING)
    assert caught.value.message == message


def test_every_unclear_file_is_tested():
    [tested] = [
        mark.args[1] for mark in test_what_takes_evaluation_is_named_and_left_alone.pytestmark
    ]
    names = [*(name for name, _ in tested), "unknown-user"]
    assert sorted(names) == sorted(path.stem for path in UNCLEAR.iterdir())


UNKNOWN_USER = (
    "line 5: what environment.persistence holds can't be told without evaluating"
    " `users.${username}`"
)


def test_a_user_that_takes_evaluation_keeps_nothing_else_out():
    text = read(UNCLEAR / "unknown-user.nix")
    done = add_missing(text, MISSING)
    assert done.left_out == (LeftOut(b"/persist", "alice", (b".ssh", b"Documents"), UNKNOWN_USER),)
    assert read_declared(done.text).stores[b"/persist"] == Store(
        (b"/var/log", b"/var/lib/bluetooth", b"/var/lib/nixos"),
        (b"/etc/machine-id",),
        {},
    )


def test_where_all_that_is_missing_is_such_a_users_the_file_is_left_alone():
    made = suggestion(entry(b"/home/alice/.ssh", **ALICE))
    with pytest.raises(DriftError) as caught:
        add_missing(read(UNCLEAR / "unknown-user.nix"), made)
    assert caught.value.message == UNKNOWN_USER


def test_caches_go_to_the_block_of_their_store():
    made = suggestion(
        entry(b"/var/log"),
        entry(b"/var/cache/ccache", severity=Severity.LOW, title="ccache", why="slow to make"),
        cache=b"/cache",
    )
    text = b"""\
{
  environment.persistence."/cache".directories = [ "/var/cache/apt" ];
  environment.persistence."/persist".directories = [ "/var/log" ];
}
"""
    assert added(text, made) == text.replace(
        b'"/var/cache/apt"', b'"/var/cache/apt" "/var/cache/ccache"'
    )


def test_a_name_that_is_not_utf8_is_not_added():
    made = suggestion(entry(b"/var/lib/f\xff"))
    assert added(b"{ }\n", made) == b"{ }\n"


def test_odd_names_survive_the_way_through_a_file():
    odd = b'/var/lib/a${b}"c\\d\te\nf\x1bg'
    text = added(b"{ }\n", suggestion(entry(odd, service="odd", title="Odd")))
    assert read_declared(text).stores[b"/persist"].directories == (odd,)


def test_declared_directories_cover_what_is_below_them():
    text = b'{ environment.persistence."/persist".directories = [ "/etc" "/home" ]; }\n'
    made = suggestion(file(b"/etc/machine-id"), entry(b"/home/alice/Documents", **ALICE))
    assert added(text, made) == text


def test_another_store_counts_too():
    text = b'{ environment.persistence."/safe".directories = [ "/var/log" ]; }\n'
    assert added(text, suggestion(entry(b"/var/log"))) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("{ }", Declared({}, ()), id="nothing"),
        pytest.param(
            """
            { environment.persistence."/p" = {
                hideMounts = true;
                directories = [ "/a/" "//b//c" { directory = "/d"; mode = "0700"; } ];
                files = [ "/e" { file = "/f"; parentDirectory.mode = "0700"; } ];
                users.alice = { directories = [ "g" "./h" ]; files = [ "/i" ]; };
            }; }
            """,
            Declared(
                {
                    b"/p": Store(
                        (b"/a", b"/b/c", b"/d"),
                        (b"/e", b"/f"),
                        {"alice": Paths((b"g", b"./h"), (b"i",))},
                    )
                },
                (),
            ),
            id="a-block",
        ),
        pytest.param(
            """
            { lib, config, ... }:
            with lib;
            let
              p = { q = "/p"; };
              store = "/per" + "sist";
              extra = [ "/x" ''/y'' ];
            in
            {
              config = mkIf config.on (mkMerge [
                { environment.persistence."${store}".directories = extra ++ optionals a [ "/z" ]; }
                (mkIf config.more { environment.persistence.${store}.files = mkForce [ "/f" ]; })
              ]);
            }
            """,
            Declared({b"/persist": Store((b"/x", b"/y", b"/z"), (b"/f",), {})}, ()),
            id="through-functions-and-variables",
        ),
        pytest.param(
            """{ config, ... }: {
              environment.persistence."/p" = {
                directories = [
                  "${config.a}/b"
                  { directory = config.c; }
                  "/d"
                ] ++ config.e;
                files = map f [ "g" ];
                users.${config.me}.files = [ "h" ];
              };
              environment.persistence.${config.store}.files = [ "/i" ];
            }""",
            Declared(
                {b"/p": Store((b"/d",), (), {})},
                (
                    Unresolved(4, '"${config.a}/b"'),
                    Unresolved(5, "{ directory = config.c; }"),
                    Unresolved(7, "config.e"),
                    Unresolved(8, 'map f [ "g" ]'),
                    Unresolved(9, "users.${config.me}.files"),
                    Unresolved(11, "environment.persistence.${config.store}.files"),
                ),
            ),
            id="what-takes-evaluation-is-named",
        ),
        pytest.param(
            """{
              preservation.preserveAt."/p" = {
                directories = [ { directory = "/a"; inInitrd = true; } ];
                users.alice.files = [ "b" ];
              };
            }""",
            Declared({b"/p": Store((b"/a",), (), {"alice": Paths((), (b"b",))})}, ()),
            id="preservation",
        ),
        pytest.param(
            """{
              home-manager.users.alice.home.persistence."/p".directories = [ "a" ];
              home.persistence."/p".directories = [ "b" ];
            }""",
            Declared(
                {b"/p": Store((), (), {"alice": Paths((b"a",), ())})}, (Unresolved(3, '[ "b" ]'),)
            ),
            id="home-manager",
        ),
        pytest.param(
            """{ lib, ... }: {
              options.environment.persistence."/p".directories = lib.mkOption { };
              other.persistence."/p".directories = [ "/a" ];
            }""",
            Declared({}, ()),
            id="options-and-namesakes-declare-nothing",
        ),
        pytest.param(
            """let directories = [ "/a" ]; in {
              environment.persistence."/p" = { inherit directories; };
            }""",
            Declared({b"/p": Store((b"/a",), (), {})}, ()),
            id="inherited",
        ),
        pytest.param(
            r"""{ environment.persistence."/p".directories = [
              "/a\"b\\c\${d}\n\t$e$${f}" ''/g''${h}'''i'' (("/j"))
            ]; }""",
            Declared({b"/p": Store((b'/a"b\\c${d}\n\t$e$${f}', b"/g${h}''i", b"/j"), (), {})}, ()),
            id="escapes",
        ),
    ],
)
def test_reading(text, expected):
    assert read_declared(text.encode()) == expected


WHOLE = read(STYLES / "several-stores.nix")


@given(st.integers(0, len(WHOLE)), st.integers(0, 40), st.binary(max_size=6))
def test_a_damaged_file_is_read_or_refused(start, length, put):
    damaged = WHOLE[:start] + put + WHOLE[start + length :]
    try:
        after = add_missing(damaged, MISSING).text
    except DriftError:
        return
    assert read_declared(after) is not None
