"""What units and tmpfiles.d say about directories, as rules."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nixos_root import NixosRoot

from drift.model import Kind, Severity, Skipped, Verdict
from drift.rulebook import Layer, Rule, RuleBook, RuleKind
from drift.system.accounts import read_accounts
from drift.system.unit_file import parse_unit, split, unescape
from drift.system.units import read_unit_rules


@pytest.fixture
def root(tmp_path):
    return NixosRoot(tmp_path / "live root")


def read(root, files, upcoming=None):
    root.activate(root.system("1", files))
    if upcoming is not None:
        root.boot_next(root.system("2", upcoming))
    return read_unit_rules(root.bytes, read_accounts(root.bytes))


def rules(root, files, upcoming=None):
    return [
        (rule.pattern, rule.verdict.value, rule.user, rule.group, oct(rule.mode or 0), rule.why)
        for rule in read(root, files, upcoming).rules
    ]


def unit(name, text):
    return {f"systemd/system/{name}": text}


def test_a_state_directory_is_a_rule_with_owner_mode_and_reason(root):
    root.write("/etc/passwd", "app:x:900:901::/var/empty:/bin/sh\n")
    root.write("/etc/group", "apps:x:901:\n")
    text = (
        "[Unit]\nDescription=An app\n"
        "[Service]\nUser=app\nStateDirectory=app app/data\nStateDirectoryMode=0700\n"
    )
    assert read(root, unit("app.service", text)).rules[0] == Rule(
        service="app",
        title="An app",
        nixos=None,
        verdict=Verdict.PERSIST,
        severity=Severity.NORMAL,
        why="state of An app",
        pattern="/var/lib/app",
        kind=RuleKind.DIRECTORY,
        origin="unit app.service",
        user="app",
        group="apps",
        mode=0o700,
        layer=Layer.UNIT,
    )
    assert [
        rule.pattern for rule in read_unit_rules(root.bytes, read_accounts(root.bytes)).rules
    ] == [
        "/var/lib/app",
        "/var/lib/app/data",
    ]


def test_each_kind_of_directory_has_its_verdict(root):
    text = (
        "[Service]\nUser=app\nGroup=grp\nStateDirectory=a\nCacheDirectory=b\nLogsDirectory=c\n"
        "ConfigurationDirectory=d\nRuntimeDirectory=e\nCacheDirectoryMode=0750\n"
    )
    assert rules(root, unit("x.service", text)) == [
        ("/var/lib/a", "persist", "app", "grp", "0o755", "state of x.service"),
        ("/etc/d", "persist", "root", "root", "0o755", "configuration of x.service"),
        ("/var/cache/b", "ephemeral", "app", "grp", "0o750", "cache of x.service"),
        ("/var/log/c", "ephemeral", "app", "grp", "0o755", "log of x.service"),
    ]


def test_a_dynamic_user_keeps_its_data_in_private(root):
    text = "[Service]\nDynamicUser=yes\nUser=dyn\nStateDirectory=dyn\nReadWritePaths=/srv/dyn\n"
    found = read(root, unit("dyn.service", text)).rules
    assert [
        (rule.pattern, rule.kind.value, rule.user, rule.mode, rule.advice) for rule in found
    ] == [
        ("/var/lib/private/dyn", "directory", None, 0o755, None),
        (
            "/var/lib/dyn",
            "path",
            None,
            None,
            "persist /var/lib/private/dyn: a bind mount over the link stops the unit",
        ),
        ("/srv/dyn", "path", None, None, None),
    ]


def test_a_link_to_a_state_directory_is_made_again(root):
    text = "[Service]\nStateDirectory=real:alias real:other:ro\n"
    assert rules(root, unit("x.service", text)) == [
        ("/var/lib/real", "persist", "root", "root", "0o755", "state of x.service"),
        ("/var/lib/alias", "regenerated", None, None, "0o0", "a link that the unit makes to real"),
        ("/var/lib/other", "regenerated", None, None, "0o0", "a link that the unit makes to real"),
    ]


def test_names_that_leave_their_place_or_claim_all_of_it_are_left_out(root):
    text = "[Service]\nStateDirectory=../etc /abs . %i private x/../y %b ok//./sub/\n"
    assert [row[0] for row in rules(root, unit("x@.service", text))] == ["/var/lib/ok/sub"]


def test_templates_and_instances(root):
    files = unit("db@.service", "[Service]\nUser=%i\nStateDirectory=db/%i %p-%i\n")
    files |= unit("app@one\\x2dtwo.service", "[Service]\nStateDirectory=app/%i app/%I\n")
    assert [row[:3] for row in rules(root, files)] == [
        ("/var/lib/app/one\\x2dtwo", "persist", "root"),
        ("/var/lib/app/one-two", "persist", "root"),
        ("/var/lib/db/*", "persist", None),
        ("/var/lib/db-*", "persist", None),
    ]


def test_drop_ins_add_to_a_unit_and_an_empty_value_clears(root):
    files = unit("x.service", "[Service]\nStateDirectory=old\n")
    files |= unit("x.service.d/overrides.conf", "[Service]\nStateDirectory=\nStateDirectory=new\n")
    files |= unit("y.service", "[Service]\nStateDirectory=a\nStateDirectory=b\n")
    assert [row[0] for row in rules(root, files)] == ["/var/lib/new", "/var/lib/a", "/var/lib/b"]


def test_an_alias_is_not_read_twice(root):
    files = unit("real.service", "[Service]\nStateDirectory=x\n")
    closure = root.system("1", files)
    etc = os.readlink(root.at(closure + "/etc"))
    root.link(etc + "/systemd/system/alias.service", "real.service")
    store = os.readlink(root.at(etc + "/systemd/system/real.service"))
    root.at(store).rename(root.at("/nix/store/real.service"))
    root.link(etc + "/systemd/system/real.service", "/nix/store/real.service")
    root.activate(closure)
    found = read_unit_rules(root.bytes, read_accounts(root.bytes)).rules
    assert [rule.origin for rule in found] == ["unit real.service"]


def test_what_a_unit_mentions_is_its_data(root):
    root.write("/etc/passwd", "svc:x:900:900::/var/lib/svc-home:/bin/sh\n")
    root.write("/etc/group", "svc:x:900:\n")
    text = (
        "[Unit]\nDescription=Svc\nRequiresMountsFor=/srv/data/deep /home/alice\n[Service]\nUser=svc\n"
        "WorkingDirectory=-/var/lib/work/dir\nReadWritePaths=-/var/spool/svc /home /var/lib /run/x\n"
        'Environment="HOME=/var/lib/env/home" PATH=/nix/store/x/bin\n'
        "ExecStart=/nix/store/x/bin/svc --db=/var/lib/db.sqlite -c /etc/svc.conf --log /var/log/svc/log\n"
        "ExecStart=/opt/own/bin/run --seed /var/lib/systemd/random-seed\n"
    )
    assert rules(root, unit("svc.service", text)) == [
        ("/var/lib/work/dir", "persist", "svc", "svc", "0o0", "data of Svc"),
        ("/var/spool/svc", "persist", "svc", "svc", "0o0", "spool of Svc"),
        ("/var/lib/svc-home", "persist", "svc", "svc", "0o0", "data of Svc"),
        ("/srv/data", "persist", None, None, "0o0", "data of Svc"),
        ("/var/lib/db.sqlite", "persist", None, None, "0o0", "data of Svc"),
        ("/var/log/svc", "ephemeral", None, None, "0o0", "log of Svc"),
        ("/opt/own", "persist", None, None, "0o0", "data of Svc"),
        ("/var/lib/env", "persist", None, None, "0o0", "data of Svc"),
    ]


def test_what_a_unit_declares_comes_before_what_another_mentions(root):
    files = unit("a.service", "[Service]\nExecStart=/x --dir /var/lib/shared\n")
    files |= unit("b.service", "[Service]\nStateDirectory=shared\n")
    files |= {"tmpfiles.d/c.conf": "d /var/lib/shared 0700 c c -\n"}
    assert [(rule.pattern, rule.origin) for rule in read(root, files).rules] == [
        ("/var/lib/shared", "unit b.service")
    ]


def test_the_next_boots_units_come_before_the_running_ones(root):
    running = unit("x.service", "[Service]\nUser=old\nStateDirectory=x gone\n")
    upcoming = unit("x.service", "[Service]\nUser=new\nStateDirectory=x\n")
    assert [row[:3] for row in rules(root, running, upcoming)] == [
        ("/var/lib/x", "persist", "new"),
        ("/var/lib/gone", "persist", "old"),
    ]


def test_units_of_users_speak_for_every_home(root):
    text = "[Service]\nStateDirectory=x\nCacheDirectory=x\nConfigurationDirectory=x\n"
    assert rules(root, {"systemd/user/x.service": text}) == [
        ("~/.local/state/x", "persist", None, None, "0o755", "state of x.service"),
        ("~/.config/x", "persist", None, None, "0o755", "configuration of x.service"),
        ("~/.cache/x", "ephemeral", None, None, "0o755", "cache of x.service"),
    ]


def test_tmpfiles_say_what_is_kept_and_what_is_cleaned(root):
    text = (
        "d /var/lib/app 0750 app - -\nd /var/cache/app\nd /var/lib/app/old - - - 30d\n"
        "D! /var/lib/scratch\nR /var/lib/app/run-*\ne /srv/drop - - - 5d\n"
        "q /tmp 1777 root root 10d\nd /var/lib/systemd/x\nf /var/lib/file\nd /etc/app\n"
        "d /home/alice/x\nd /run/x\nL /var/lib/l - - - - /x\n"
    )
    assert rules(root, {"tmpfiles.d/app.conf": text}) == [
        (
            "/var/lib/app",
            "persist",
            "app",
            "root",
            "0o750",
            "data of app, which makes the directory at boot",
        ),
        (
            "/var/cache/app",
            "ephemeral",
            "root",
            "root",
            "0o755",
            "cache of app, which makes the directory at boot",
        ),
        (
            "/var/lib/app/old",
            "ephemeral",
            "root",
            "root",
            "0o755",
            "systemd deletes what is older than 30d here",
        ),
        ("/var/lib/scratch", "ephemeral", "root", "root", "0o755", "systemd empties it at boot"),
        ("/var/lib/app/run-*", "ephemeral", None, None, "0o0", "systemd removes it at boot"),
        (
            "/srv/drop",
            "ephemeral",
            None,
            None,
            "0o0",
            "systemd deletes what is older than 5d here",
        ),
    ]


def test_the_rules_work_in_the_rule_book_and_a_file_beats_them(root):
    found = read(root, unit("x.service", "[Service]\nStateDirectory=x\nCacheDirectory=x\n")).rules
    book = RuleBook().with_rules(found)
    decision = book.decide(b"/var/lib/x/deep/file", Kind.FILE)
    assert decision is not None
    assert (decision.rule.origin, decision.anchor) == ("unit x.service", b"/var/lib/x")
    assert book.decide(b"/var/lib/other", Kind.DIRECTORY) is None


def test_unreadable_units_are_named_and_a_root_without_any_has_none(root, tmp_path):
    nothing = os.fsencode(tmp_path / "none")
    assert read_unit_rules(nothing, read_accounts(nothing)) == ((), ())
    files = unit("ok.service", "[Service]\nStateDirectory=ok\n")
    closure = root.system("1", files)
    etc = os.readlink(root.at(closure + "/etc"))
    os.mkfifo(root.at(etc + "/systemd/system/pipe.service"))
    root.link(etc + "/systemd/system/dangling.service", "/nowhere")
    root.link(etc + "/systemd/system/masked.service", "/dev/null")
    root.at(etc + "/systemd/system/directory.service").mkdir()
    root.activate(closure)
    found = read_unit_rules(root.bytes, read_accounts(root.bytes))
    assert [rule.pattern for rule in found.rules] == ["/var/lib/ok"]
    base = etc.encode() + b"/systemd/system/"
    assert found.skipped == (
        Skipped(base + b"directory.service", "Is a directory"),
        Skipped(base + b"pipe.service", "not a regular file"),
    )


def test_a_plain_etc_is_read_where_nixos_left_no_store(root):
    root.write("/etc/systemd/system/x.service", "[Service]\nStateDirectory=x\n")
    found = read_unit_rules(root.bytes, read_accounts(root.bytes)).rules
    assert [rule.pattern for rule in found] == ["/var/lib/x"]


def test_unit_files_are_read_as_systemd_does():
    text = (
        b"# comment\n[Unit]\nDescription = Some  thing\n;other\n[Service]\nExecStart=/a \\\n"
        b"# between\n  /b\nKey=1\nKey=2\nnonsense\n[Other]\nKey=3\n\xff=\xff\n"
    )
    unit = parse_unit("x@y.service", text)
    assert unit.instance == "y"
    assert unit.prefix == "x"
    assert dict(unit.settings) == {
        ("Unit", "Description"): ("Some  thing",),
        ("Service", "ExecStart"): ("/a    /b",),
        ("Service", "Key"): ("1", "2"),
        ("Other", "Key"): ("3",),
        ("Other", "\udcff"): ("\udcff",),
    }


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("a  b", ["a", "b"]),
        ("\"a b\" 'c d'", ["a b", "c d"]),
        ('K="a b"c', ["K=a bc"]),
        (r"a\x20b \"q\"", ["a b", '"q"']),
        ('"open', ["open"]),
        ("", []),
    ],
)
def test_words(value, words):
    assert split(value) == words


def test_unit_names_stand_for_paths():
    assert unescape(r"persist-etc-machine\x2did") == "persist/etc/machine-id"


@given(st.binary(max_size=150))
def test_no_bytes_break_the_unit_reader(text):
    unit = parse_unit("x.service", text)
    for section, key in unit.settings:
        unit.words(section, key)
        unit.last(section, key)
