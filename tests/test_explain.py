"""`drift explain` and `drift rules`, as their users call them."""

import json

import pytest
from click.testing import CliRunner

from drift.commands.explain import explain
from drift.commands.rules import rules
from drift.errors import UsageError
from drift.rulebook import RuleFilesError

TEXT = """
service = "zed"
title = "The zed service"
nixos = "services.zed.enable"

[[rule]]
directory = "/var/lib/zed-test"
verdict = "persist"
severity = "high"
user = "zed"
mode = "0750"
why = "what zed knows"
examples = ["/var/lib/zed-test/db"]
not = ["/var/lib/zed-test2"]

[[rule]]
path = "~/.zed-test"
verdict = "review"
why = "what you told zed"
advice = "ask zed"
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", "/data/people/zoe")
    path = tmp_path / "zed.toml"
    path.write_text(TEXT)
    return path


def run(command, *arguments, stdin=None):
    result = CliRunner().invoke(command, list(map(str, arguments)), input=stdin)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


def test_a_path_is_explained_in_a_few_lines(file):
    asked = ("/var/lib/zed-test/db", "~/.zed-test", "/nowhere/\x1b[31m")
    assert (
        run(explain, "--rules", file, *asked)
        == f"""\
/var/lib/zed-test/db
  persist (high): zed, The zed service
  what zed knows
  {file}:6: directory /var/lib/zed-test
~/.zed-test
  review (normal): zed, The zed service
  what you told zed
  {file}:16: path ~/.zed-test
  advice: ask zed
/nowhere/\\x1b[31m
  no rule: drift scan asks you to review it
"""
    )


def test_json_has_one_object_a_line_with_the_paths_as_given(file):
    asked = ("/var/lib/zed-test/", ".zed-test/x", "/nowhere")
    lines = run(explain, "--json", "--rules", file, *asked).splitlines()
    assert [json.loads(line) for line in lines] == [
        {
            "path": "/var/lib/zed-test/",
            "service": "zed",
            "verdict": "persist",
            "severity": "high",
            "why": "what zed knows",
            "rule": f"{file}:6",
        },
        {
            "path": ".zed-test/x",
            "service": "zed",
            "verdict": "review",
            "severity": "normal",
            "why": "what you told zed",
            "rule": f"{file}:16",
        },
        {
            "path": "/nowhere",
            "service": None,
            "verdict": None,
            "severity": None,
            "why": None,
            "rule": None,
        },
    ]


def test_paths_come_from_stdin_one_a_line_and_keep_bytes_that_are_no_text(file):
    stdin = b"/var/lib/zed-test/a b\n\n/nowhere/\xff\n~/.zed-test"
    lines = run(explain, "--json", "--rules", file, "-", stdin=stdin).splitlines()
    assert [(json.loads(line)["path"], json.loads(line)["service"]) for line in lines] == [
        ("/var/lib/zed-test/a b", "zed"),
        ("/nowhere/\udcff", None),
        ("~/.zed-test", "zed"),
    ]
    assert r"\udcff" in lines[1]


@pytest.mark.parametrize(
    ("path", "known"),
    [
        ("~/.zed-test", True),
        (".zed-test", True),
        ("./a/../.zed-test/", True),
        ("/home/anyone/.zed-test", True),
        ("/root/.zed-test", True),
        ("/data/people/zoe/.zed-test", True),
        ("/data/people/yan/.zed-test", False),
        ("/.zed-test", False),
        ("//var//lib/./zed-test", True),
        ("~", False),
        ("/", False),
    ],
)
def test_where_a_home_is(file, path, known):
    answer = json.loads(run(explain, "--json", "--rules", file, path))
    assert (answer["service"] == "zed") is known


def test_a_slash_at_the_end_means_a_directory(file):
    file.write_text(TEXT.replace("directory =", "file ="))
    answers = run(explain, "--json", "--rules", file, "/var/lib/zed-test", "/var/lib/zed-test/")
    assert [json.loads(line)["service"] for line in answers.splitlines()] == ["zed", None]


def test_an_empty_path_is_a_wrong_call(file):
    with pytest.raises(UsageError, match="An empty PATH names nothing"):
        run(explain, "")


def test_nothing_is_explained_on_half_a_rule_set(file):
    file.write_text("x = 1\n" + TEXT)
    with pytest.raises(RuleFilesError, match=r":1: x: unknown key"):
        run(explain, "--rules", file, "/etc")


def test_a_service_and_its_rules_are_shown_by_name_or_file(file):
    expected = f"""\
zed: The zed service
turned on by services.zed.enable

directory /var/lib/zed-test
  persist (high): what zed knows
  owner and mode: zed 0750
  {file}:6

path ~/.zed-test
  review (normal): what you told zed
  advice: ask zed
  {file}:16
"""
    for name in ("ZED", "zed", "zed.toml"):
        shown = run(rules, "show", name, "--rules", file)
        assert shown.endswith(expected)


def test_an_unknown_service_is_answered_with_near_ones(file):
    with pytest.raises(UsageError) as caught:
        run(rules, "show", "zeed", "--rules", file)
    assert caught.value.message == "No rules for zeed"
    assert "zed" in caught.value.hint


def test_the_list_counts_the_rules_of_each_service(file):
    lines = run(rules, "list", "--rules", file).splitlines()
    assert lines[0].split() == ["service", "what", "it", "is", "rules", "file"]
    assert ["zed", "The", "zed", "service", "2", str(file)] in [line.split() for line in lines]
    shown = [
        json.loads(line) for line in run(rules, "list", "--json", "--rules", file).splitlines()
    ]
    assert shown[-2] == {
        "service": "zed",
        "title": "The zed service",
        "nixos": "services.zed.enable",
        "kind": "directory",
        "pattern": "/var/lib/zed-test",
        "verdict": "persist",
        "severity": "high",
        "why": "what zed knows",
        "user": "zed",
        "group": None,
        "mode": "0750",
        "replaced": False,
        "method": None,
        "advice": None,
        "examples": ["/var/lib/zed-test/db"],
        "not": ["/var/lib/zed-test2"],
        "reviewed": None,
        "expires": None,
        "rule": f"{file}:6",
    }


def test_a_sound_file_passes_the_check(file):
    assert run(rules, "check", file) == "1 file, 2 rules: no fault\n"


def test_a_check_of_nothing_is_no_success(file):
    file.rename(file.with_suffix(".txt"))
    with pytest.raises(UsageError, match="No rule files there"):
        run(rules, "check", file.parent)


def test_the_check_tries_examples_and_finds_patterns_ruled_twice(file):
    file.write_text(
        TEXT.replace('"/var/lib/zed-test2"', '"/var/lib/zed-test/x"').replace(
            'zed-test/db"', 'zed-test/db", "/nowhere", "~/.zed-test"'
        )
    )
    other = file.with_name("other.toml")
    other.write_text(TEXT.split("[[rule]]")[0] + "[[rule]]" + TEXT.split("[[rule]]")[2])
    with pytest.raises(RuleFilesError) as caught:
        run(rules, "check", file.parent)
    assert caught.value.message.split("\n") == [
        f"{file}:16: path: ~/.zed-test is ruled by {other}:6 too",
        f"{file}:6: examples: no rule decides /nowhere",
        f"{file}:6: examples: {file}:16 decides ~/.zed-test",
        f"{file}:6: not: this rule decides /var/lib/zed-test/x",
    ]


@pytest.mark.parametrize(
    "command", [explain, rules, *rules.commands.values()], ids=lambda command: command.name
)
def test_every_help_has_an_example(command):
    shown = run(command, "--help")
    assert "Example" in shown
    assert "  drift " in shown.split("Example")[1]
