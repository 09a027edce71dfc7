"""Rules from units: below the shipped ones, and parsed once a system."""

from __future__ import annotations

import json
import os

import pytest
from click.testing import CliRunner
from nixos_root import NixosRoot

from drift import unit_rules
from drift.cli import cli
from drift.model import Kind, Severity, Verdict
from drift.rulebook import Layer, Rule, RuleBook, RuleKind
from drift.system.accounts import read_accounts
from drift.system.units import read_unit_rules
from drift.unit_rules import unit_rules_cached, with_unit_rules


def rule(pattern, origin, verdict=Verdict.PERSIST, layer=Layer.UNIT):
    return Rule(
        "x",
        "X",
        None,
        verdict,
        Severity.NORMAL,
        "why",
        pattern,
        RuleKind.DIRECTORY,
        origin,
        layer=layer,
    )


def shipped(pattern, verdict=Verdict.PERSIST, layer=Layer.SHIPPED):
    return rule(pattern, "file", verdict, layer)


@pytest.mark.parametrize(
    ("known", "unit", "path", "origin"),
    [
        (shipped("/var/lib/x"), rule("/var/lib/x", "unit"), b"/var/lib/x", "file"),
        (shipped("/var/lib/x"), rule("/var/lib/x/y", "unit"), b"/var/lib/x/y", "file"),
        (shipped("/var/lib/private"), rule("/var/lib/private/x", "unit"), b"/var/lib/private/x", "unit"),
        (
            shipped("/var/lib/private", layer=Layer.USER),
            rule("/var/lib/private/x", "unit"),
            b"/var/lib/private/x",
            "file",
        ),
        (
            shipped("/var/log"),
            rule("/var/log/x", "unit", Verdict.EPHEMERAL),
            b"/var/log/x",
            "file",
        ),
        (shipped("/srv/y"), rule("/srv/x", "unit"), b"/srv/x", "unit"),
    ],
    ids=["the same", "deeper", "in a shared directory", "the user's", "logs kept whole", "unknown"],
)  # fmt: skip
def test_a_unit_decides_where_no_rule_knows_more(known, unit, path, origin):
    decision = with_unit_rules(RuleBook([known]), [unit]).decide(path, Kind.DIRECTORY)
    assert decision is not None
    assert decision.rule.origin == origin


@pytest.fixture
def root(tmp_path):
    made = NixosRoot(tmp_path / "live")
    made.write("/etc/passwd", "root:x:0:0::/root:/bin/sh\n")
    made.activate(made.system("1", service("one")))
    return made


@pytest.fixture
def parsed(monkeypatch):
    """How often units were parsed."""
    times = []

    def counted(*arguments):
        times.append(1)
        return read_unit_rules(*arguments)

    monkeypatch.setattr(unit_rules, "read_unit_rules", counted)
    return times


def service(name):
    return {f"systemd/system/{name}.service": f"[Service]\nStateDirectory={name}\n"}


def read(root, cache):
    return unit_rules_cached(root.bytes, read_accounts(root.bytes), cache)


def test_units_are_parsed_once(root, parsed, tmp_path):
    cache = tmp_path / "cache"
    first = read(root, cache)
    assert [one.pattern for one in first.rules] == ["/var/lib/one"]
    assert read(root, cache) == first
    assert len(parsed) == 1
    assert os.stat(cache / unit_rules.FILE).st_mode & 0o777 == 0o600


@pytest.mark.parametrize("change", ["system", "next", "users"])
def test_another_system_or_other_users_are_read_anew(root, parsed, tmp_path, change):
    cache = tmp_path / "cache"
    read(root, cache)
    if change == "users":
        root.write("/etc/passwd", "root:x:0:0::/root:/bin/sh\napp:x:9:9::/:/bin/sh\n")
    elif change == "system":
        root.activate(root.system("2", service("two")))
    else:
        root.boot_next(root.system("2", service("two")))
    found = read(root, cache)
    assert len(parsed) == 2
    assert ("/var/lib/two" in [one.pattern for one in found.rules]) == (change != "users")


def test_a_system_that_is_not_in_the_store_is_read_each_time(tmp_path, parsed):
    made = NixosRoot(tmp_path / "live")
    made.write("/etc/systemd/system/own.service", "[Service]\nStateDirectory=own\n")
    for _ in range(2):
        assert [one.pattern for one in read(made, tmp_path / "cache").rules] == ["/var/lib/own"]
    assert len(parsed) == 2


def test_units_with_nothing_to_say_are_passed_over_and_drop_ins_heard(tmp_path):
    made = NixosRoot(tmp_path / "live")
    files = {
        "systemd/system/quiet.service": "[Service]\nExecStart=/nix/store/x/bin/quiet\n",
        "systemd/system/quiet.service.d/own.conf": "[Service]\nStateDirectory=quiet\n",
        "systemd/system/silent.service": "[Service]\nExecStart=/nix/store/x/bin/silent\n",
        "systemd/system/user.service": "[Service]\n  User = app\n",
    }
    made.write("/etc/passwd", "app:x:9:9::/var/lib/app-home:/bin/sh\n")
    made.activate(made.system("1", files))
    assert [one.pattern for one in read(made, None).rules] == [
        "/var/lib/quiet",
        "/var/lib/app-home",
    ]


def test_explain_names_the_unit_that_decides(root):
    arguments = ["explain", "--json", "--live", os.fsdecode(root.bytes), "/var/lib/one/data"]
    done = CliRunner().invoke(cli, [*arguments, "/var/lib/tailscale/x"])
    assert [json.loads(line)["rule"].partition(":")[0] for line in done.stdout.splitlines()] == [
        "unit one.service",
        "rules/tailscale.toml",
    ]
