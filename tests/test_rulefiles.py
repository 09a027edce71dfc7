"""Rule files: what they say, and every fault of them at once."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drift.model import Severity, Verdict
from drift.rulebook import Layer, Rule, RuleFilesError, RuleKind, load, rule_sources
from drift.rulebook.loading import load_cached
from drift.rulebook.reading import LARGEST, read_rules

HEAD = 'service = "x"\n'
RULE = '[[rule]]\ndirectory = "/var/lib/x"\nverdict = "persist"\nwhy = "x"\n'


def faults(text):
    data = text if isinstance(text, bytes) else text.encode()
    return [str(fault) for fault in read_rules(data, "f.toml", Layer.GIVEN)[1]]


def write(path, text=HEAD + RULE):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_every_key_of_a_rule_arrives(tmp_path):
    file = write(
        tmp_path / "x.toml",
        """
        service = "x"
        title = "The X service"
        nixos = "services.x.enable"

        [[rule]]
        directory = "/var/lib/x"
        verdict = "persist"
        severity = "high"
        why = "what x knows"
        user = "x"
        group = "users"
        mode = "0750"
        replaced = true
        method = "symlink"
        advice = "declare it"
        examples = ["/var/lib/x/db"]
        not = ["/var/lib/xy"]

        [[rule]]
        paths = ["~/.x", "~/.config/x*"]
        verdict = "review"
        why = "what you told x"
        """,
    )
    home = Rule(
        service="x",
        title="The X service",
        nixos="services.x.enable",
        verdict=Verdict.REVIEW,
        severity=Severity.NORMAL,
        why="what you told x",
        pattern="~/.x",
        kind=RuleKind.PATH,
        origin=f"{file}:20",
        layer=Layer.USER,
    )
    assert load([(Layer.USER, file)]).rules == (
        Rule(
            service="x",
            title="The X service",
            nixos="services.x.enable",
            verdict=Verdict.PERSIST,
            severity=Severity.HIGH,
            why="what x knows",
            pattern="/var/lib/x",
            kind=RuleKind.DIRECTORY,
            origin=f"{file}:6",
            user="x",
            group="users",
            mode=0o750,
            replaced=True,
            method="symlink",
            advice="declare it",
            layer=Layer.USER,
            examples=("/var/lib/x/db",),
            excludes=("/var/lib/xy",),
        ),
        home,
        home._replace(pattern="~/.config/x*"),
    )


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("vedict = 'x'", "vedict: unknown key (did you mean verdict?)"),
        (
            "title = 'x'",
            "title: unknown key (it belongs above the first [[rule]])",
        ),
        ("severity = 'bad'", "severity: 'bad' is no severity (one of critical, high, normal, low)"),
        ("severity = 'hihg'", "severity: 'hihg' is no severity (did you mean high?)"),
        ("severity = 1", "severity: must be a string, not a number"),
        ("user = ''", "user: '' is no user name"),
        ("group = 'a b'", "group: 'a b' is no group name"),
        ("mode = '0800'", "mode: '0800' is no mode (three or four octal digits, as in \"0700\")"),
        (
            "mode = 0o700",
            'mode: must be a string, not a number (write it in quotes, with a leading zero: "0700")',
        ),
        ("replaced = 'yes'", "replaced: must be true or false, not a string"),
        ("replaced = 1", "replaced: must be true or false, not a number"),
        ("method = 'copy'", "method: 'copy' is no method (only symlink is known)"),
        ("advice = ' '", "advice: is empty"),
        ('advice = "a\\nb"', "advice: must be one line without control characters"),
        ("advice = 2020-01-01", "advice: must be a string, not a date or time"),
        ("examples = '/x'", 'examples: must be a list, not a string (write examples = ["..."])'),
        ("examples = ['x']", "examples: is a relative path (start with / or ~/)"),
        ("not = [true]", "not: must hold strings only, not true or false"),
        (
            "path = '/y'",
            "path: stands beside directory (a rule has only one of directory, file, path and paths; write two rules)",
        ),
        ('"a\\tb" = 1', None),
        ("rule = 1", "rule: unknown key (it belongs above the first [[rule]])"),
        ("= 1", "TOML: Invalid statement"),
        ("user = x", "TOML: Invalid value"),
        ("why = 'again'", "TOML: Cannot overwrite a value"),
    ],
)
def test_a_fault_names_its_line_and_key_and_what_to_do(line, fault):
    if fault is None:
        assert faults(HEAD + RULE + line)[0].startswith(
            "f.toml:6: a\\tb: unknown key (known here: "
        )
    else:
        assert faults(HEAD + RULE + line) == [f"f.toml:6: {fault}"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("", ["is empty (start with / or ~/)"]),
        ("var/x", ["is a relative path (start with / or ~/)"]),
        ("~x/y", ["is a relative path (start with / or ~/)"]),
        ("~", ["is a relative path (start with / or ~/)"]),
        ("/", ["ends in a slash (the root or a whole home can't be ruled)"]),
        ("/x/", ["ends in a slash (leave it out)"]),
        ("/x//y", ["has an empty component (//) (write one slash)"]),
        ("//x", ["has an empty component (//) (write one slash)"]),
        ("/x/../y", ["has a component . or .. (write the path without it)"]),
        ("/x/.", ["has a component . or .. (write the path without it)"]),
        ("/x/**y", ["** must stand alone between slashes (within a component write *)"]),
        ("/x/***", ["** must stand alone between slashes (within a component write *)"]),
        ("/**", ["matches everything (name what the rule is about)"]),
        ("~/**/**", ["matches everything (name what the rule is about)"]),
        ("/x\\u0000", ["has a NUL byte (no path can hold one)"]),
        (
            "x//../",
            [
                "ends in a slash (leave it out)",
                "has a component . or .. (write the path without it)",
                "has an empty component (//) (write one slash)",
                "is a relative path (start with / or ~/)",
            ],
        ),
    ],
)
def test_every_fault_of_a_pattern_is_named(pattern, expected):
    text = HEAD + RULE.replace("/var/lib/x", pattern)
    assert faults(text) == [f"f.toml:3: directory: {what}" for what in expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "",
            [
                "f.toml:1: rule: is missing (start each rule with [[rule]])",
                'f.toml:1: service: is missing (say whose state this is: service = "...")',
            ],
        ),
        (HEAD + "rule = []", []),
        (HEAD + "[rule]", ["f.toml:2: rule: must be a list of tables, not a table"]),
        (HEAD + "rule = [1]", ["f.toml:2: rule: must be a table, not a number"]),
        (
            HEAD + "\n[[rule]]",
            [
                "f.toml:3: directory: is missing (a rule has one of directory, file, path or paths)",
                "f.toml:3: verdict: is missing (one of persist, ephemeral, regenerated, review)",
                "f.toml:3: why: is missing (say in a few words what would be lost)",
            ],
        ),
        (
            HEAD + RULE + RULE.replace("directory", "file") + RULE,
            ["f.toml:11: directory: /var/lib/x is ruled twice"],
        ),
        (HEAD + RULE.replace('"/var/lib/x"', "['/x']"), ["f.toml:3: directory: must be a string"]),
        (
            HEAD + RULE.replace('directory = "/var/lib/x"', "path = ['/x']"),
            ["f.toml:3: path: must be a string, not a list (a list belongs to the key paths)"],
        ),
        (
            HEAD + RULE.replace('directory = "/var/lib/x"', 'paths = [\n"/x",\n"y",\n"/x"]'),
            [
                "f.toml:3: paths: /x is ruled twice (the first time in the rule on line 2)",
                "f.toml:5: paths: is a relative path (start with / or ~/)",
            ],
        ),
        (
            HEAD + RULE.replace('directory = "/var/lib/x"', "paths = []"),
            ["f.toml:3: paths: is empty (name at least one path)"],
        ),
        (
            HEAD + 'rule = [\n  {directory = "/x", verdict = "kept", why = "x"},\n]',
            ["f.toml:3: verdict: 'kept' is no verdict"],
        ),
        (b"service = '\xff'", ["f.toml:1: TOML: not UTF-8 (save the file as UTF-8)"]),
        ("a = " + "[" * 5000, ["f.toml:1: TOML: nested too deeply"]),
        ("a = " + "1" * 5000, ["f.toml:1: TOML: Exceeds the limit"]),
        (b" " * (LARGEST + 1), [f"f.toml: larger than {LARGEST} bytes (split it)"]),
        (
            HEAD + "x = [\n" + RULE,
            ["f.toml:3: TOML: Invalid value (a bracket or quote above may be open)"],
        ),
    ],
)
def test_faults_of_a_whole_file(text, expected):
    found = faults(text)
    assert len(found) == len(expected), found
    for fault, start in zip(found, expected, strict=True):
        assert fault.startswith(start)


def test_a_broken_line_hides_no_other_fault():
    text = """service = x
titel = "y"
[[rule]]
directory = "/a"
verdict = "persit"
why = "b
mode = 1
"""
    assert faults(text) == [
        "f.toml:1: TOML: Invalid value",
        "f.toml:2: titel: unknown key (did you mean title?)",
        "f.toml:5: verdict: 'persit' is no verdict (did you mean persist?)",
        "f.toml:6: TOML: Illegal character '\\n'",
        'f.toml:7: mode: must be a string, not a number (write it in quotes, with a leading zero: "0700")',
    ]


def test_every_fault_of_every_file_is_reported_at_once(tmp_path):
    first = write(tmp_path / "a.toml", RULE)
    write(tmp_path / "b.toml")
    second = write(tmp_path / "c.toml", HEAD + RULE + "x = 1")
    write(tmp_path / "d.txt", "no rules")
    missing = tmp_path / "missing.toml"
    (tmp_path / "e.toml").mkdir()
    with pytest.raises(RuleFilesError) as caught:
        load([(Layer.GIVEN, tmp_path), (Layer.GIVEN, missing)])
    lines = caught.value.message.split("\n")
    assert [line.split(" (")[0] for line in lines] == [
        f"{first}:1: service: is missing",
        f"{second}:6: x: unknown key",
        f"{tmp_path / 'e.toml'}: can't be read: Is a directory",
        f"{missing}: can't be read: No such file or directory",
    ]
    assert caught.value.hint == "correct these 4 faults first: nothing runs on half a rule set"
    assert caught.value.exit_code == 3


TOKENS = """[[rule]]\n|[rule]\n|[[rule.x]]\n|[a."b c"]\n|service = |title = |directory = |path = |\
paths = |verdict = |why = |mode = |examples = |not = |user = |rule = |"/a"|'~/b'|"persist"|[|]|{|}|,|
|"|'|1|true|0700|2020-01-01|inf|a.b.c = |"\\u0000"|"\\u001b"|#|\r\n|\r|\t|é|="""
tokens = st.sampled_from([*TOKENS.split("|"), '"""'])


@settings(max_examples=400, deadline=None)
@given(
    st.one_of(st.binary(max_size=60), st.lists(tokens, max_size=25).map("".join).map(str.encode))
)
def test_no_bytes_raise_anything(data):
    rows, found = read_rules(data, "f.toml", Layer.GIVEN)
    assert rows or found or b"rule" in data
    for fault in found:
        assert str(fault).isprintable()
        assert fault.line <= data.count(b"\n") + 1


def test_the_layers_come_in_order_and_only_where_they_exist(tmp_path):
    rules = tmp_path / "config" / "drift" / "rules.d"
    rules.mkdir(parents=True)
    extra = tmp_path / "extra.toml"
    layers = [
        rule_sources([extra], {"XDG_CONFIG_HOME": str(tmp_path / "config")}),
        rule_sources([extra], {"XDG_CONFIG_HOME": "config", "HOME": str(tmp_path)}),
        rule_sources([], {}),
    ]
    assert [[layer.name for layer, _ in found if layer != Layer.SYSTEM] for found in layers] == [
        ["SHIPPED", "USER", "GIVEN"],
        ["SHIPPED", "GIVEN"],
        ["SHIPPED"],
    ]
    assert layers[0][-2:] == [(Layer.USER, str(rules)), (Layer.GIVEN, extra)]


def test_a_shipped_file_has_one_name_wherever_it_is(tmp_path):
    write(tmp_path / "x.toml")
    (rule,) = load_cached([(Layer.SHIPPED, tmp_path)], None).rules
    assert rule.origin == "rules/x.toml:2"
