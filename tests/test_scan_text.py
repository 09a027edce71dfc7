"""`drift scan` for people, compared as whole texts."""

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drift.model import Engine, Kind, Lineage, Root, Severity, Skipped, Status, Verdict
from drift.names import printable
from drift.render.scan_text import Style, brief, render
from drift.render.text import age, columns, cut, plural, size
from drift.report import Entry, Finding, Group, Hidden, Kept, Report

HOUR = 3600 * 10**9
NOW = 1_700_000_000 * 10**9


def entry(path, why, *, verdict=Verdict.PERSIST, severity=Severity.NORMAL, **values):
    finding = Finding("", "", verdict, severity, why, "rules/x.toml:1", path)
    values = {"kind": Kind.FILE, "status": Status.ADDED, "files": 1, "bytes": 1000} | values
    return Entry(path, finding=finding, newest=NOW - HOUR, **values)


def group(service, *entries):
    first = entries[0].finding
    return Group(service, service, first.verdict, first.severity, list(entries))


def counts(**numbers):
    told = {"changed": sum(numbers.values()), **{verdict.value: 0 for verdict in Verdict}}
    return told | numbers


LIVE = Root(b"/", b"root", 256, 20)
BLANK = Root(b"root-blank", b"root-blank", 257, 10)
NOTHING = Report(
    live=LIVE,
    blank=BLANK,
    engine=Engine.GENERATION,
    lineage=Lineage.LIVE_FROM_BLANK,
    base_generation=10,
    counts=counts(),
    groups=[],
    kept=[],
    hidden=[],
    skipped=[],
    seconds=0.1,
)
FULL = replace(
    NOTHING,
    counts=counts(persist=7, review=3, ephemeral=1200, regenerated=40, kept=2),
    groups=[
        group(
            "openssh",
            entry(
                b"/etc/ssh/ssh_host_rsa_key",
                "the keys that prove who this machine is; with new ones SSH clients refuse it",
                severity=Severity.CRITICAL,
            ),
            entry(
                b"/etc/ssh/ssh_host_ed25519_key",
                "the keys that prove who this machine is; with new ones SSH clients refuse it",
                severity=Severity.CRITICAL,
            ),
        ),
        group(
            "NetworkManager",
            entry(b"/var/lib/NetworkManager/secret_key", "the key of stable addresses"),
            entry(
                b"/var/lib/NetworkManager",
                "when connections were last used",
                kind=Kind.DIRECTORY,
                files=3,
            ),
        ),
        group(
            "unrecognised",
            entry(
                b"/srv/photos",
                "not recognised",
                verdict=Verdict.REVIEW,
                kind=Kind.SUBVOLUME,
                files=1234,
                bytes=5 * 10**9,
            ),
            entry(
                b"/opt/moved",
                "not recognised",
                verdict=Verdict.REVIEW,
                status=Status.RENAMED,
            ),
        ),
        group("Chromium", entry(b"/root/.cache/chromium", "a cache", verdict=Verdict.EPHEMERAL)),
    ],
    kept=[
        Kept(b"/home", "subvolume home"),
        Kept(b"/persist", "subvolume persist"),
    ],
    hidden=[Hidden(b"/var/log", b"/var/log", 2, 2500, NOW)],
    skipped=[Skipped(b"/var/bad\xff", "the disk gave an error when reading it")],
)

WIDE = """\
Compared / (subvolume root)
    with root-blank: the live root was made from it

At the next reboot, 6 files and directories would be lost, 2 of them critical and listed first.

SERVICE         VERDICT      FILES    SIZE     AGE
openssh         persist          2  2.0 kB  1 hour
  /etc/ssh/ssh_host_ed25519_key
  /etc/ssh/ssh_host_rsa_key
      the keys that prove who this machine is; with new ones SSH clients refuse it
NetworkManager  persist          4  2.0 kB  1 hour
  /var/lib/NetworkManager/
      when connections were last used
  /var/lib/NetworkManager/secret_key
      the key of stable addresses
unrecognised    review       1,235  5.0 GB  1 hour
  /opt/moved (renamed)
  /srv/photos/
      not recognised

1,252 entries changed in all:
      7  persist      worth keeping
      3  review       for you to look at
  1,200  ephemeral    safe to lose: caches, logs, temporary files
     40  regenerated  made again at boot or activation
      2  kept         kept already, or hidden below a mount point

Kept already:
  /home     subvolume home
  /persist  subvolume persist

Hidden below mount points, gone at the next reboot (drift save --hidden):
  /var/log  2 files, 2.5 kB, age: now

Could not be read, and so may be missing above:
  /var/bad\\xff: the disk gave an error when reading it

Next: drift suggest --nix prints what to add to environment.persistence.
"""


def test_the_whole_report():
    assert render(FULL, NOW, Style(100)) == WIDE


def test_at_60_columns_paths_are_cut_in_the_middle_and_reasons_wrapped():
    deep = b"/var/lib/" + b"/".join(b"directory%d" % number for number in range(9)) + b"/file"
    report = replace(
        NOTHING,
        counts=counts(persist=1),
        groups=[
            group(
                "service",
                entry(deep, "a reason that is longer than one line of no more than sixty columns"),
            )
        ],
    )
    assert render(report, NOW, Style(60)) == (
        """\
Compared / (subvolume root)
    with root-blank: the live root was made from it

At the next reboot, 1 file or directory would be lost.

SERVICE    VERDICT      FILES    SIZE     AGE
service    persist          1  1.0 kB  1 hour
  /var/lib/directory0/director…y6/directory7/directory8/file
      a reason that is longer than one line of no more than
      sixty columns

1 entry changed in all:
  1  persist      worth keeping

Next: drift suggest --nix prints what to add to environment.persistence.
"""
    )


def test_nothing_to_lose():
    assert render(NOTHING, NOW, Style(80)) == (
        """\
Compared / (subvolume root)
    with root-blank: the live root was made from it

Nothing would be lost at the next reboot.
"""
    )


@pytest.mark.parametrize(
    ("changed", "head"),
    [
        (
            {"lineage": Lineage.BLANK_FROM_LIVE},
            "Compared / (subvolume root)\n    with root-blank: it was taken from the live root\n",
        ),
        (
            {"lineage": Lineage.COMMON_ANCESTOR},
            "Compared / (subvolume root)\n    with root-blank: both come from one ancestor\n",
        ),
        (
            {"lineage": Lineage.UNRELATED},
            "Compared / (subvolume root)\n    with root-blank: not related by snapshots, so every entry was compared\n",
        ),
        (
            {"lineage": Lineage.NONE, "blank": None},
            "Compared / (subvolume root)\n    with nothing: everything in it counts as new\n",
        ),
        (
            {
                "lineage": Lineage.UNRELATED,
                "live": Root(b"/srv/new\n", b"", 0, 0),
                "blank": Root(b"/srv/old", b"", 0, 0),
            },
            "Compared /srv/new\\n\n    with /srv/old, entry by entry\n",
        ),
        (
            {"blank": Root(b"/mnt/blank", b"snapshots/blank", 9, 9)},
            "Compared / (subvolume root)\n    with /mnt/blank (subvolume snapshots/blank): the live root was made from it\n",
        ),
    ],
    ids=["blank from live", "common ancestor", "unrelated", "none", "directories", "mounted"],
)
def test_the_head_says_what_was_compared(changed, head):
    assert render(replace(NOTHING, **changed), NOW, Style(80)).startswith(head)


def test_verbose_lists_what_is_not_at_stake_too():
    text = render(FULL, NOW, Style(100, verbose=1))
    assert text == WIDE.replace(
        "\nKept already:",
        """
Not at stake:

SERVICE    VERDICT      FILES    SIZE     AGE
Chromium   ephemeral        1  1.0 kB  1 hour
  /root/.cache/chromium
      a cache

Kept already:""",
    )


def test_many_bind_mounts_are_one_line_unless_verbose():
    binds = [
        Kept(b"/etc/%d" % number, f"bind mount from /persist/etc/{number}") for number in range(9)
    ]
    report = replace(NOTHING, kept=[*binds, Kept(b"/home", "subvolume home")])
    assert """
Kept already:
  /home   subvolume home
  9 more  bind mounts from /persist/etc (-v lists them)
""" in render(report, NOW, Style(80))
    said = render(report, NOW, Style(80, verbose=1))
    assert all(
        f"  /etc/{number}  bind mount from /persist/etc/{number}\n" in said for number in range(9)
    )


def test_a_directory_that_holds_only_other_entries_has_no_line():
    report = replace(
        NOTHING,
        groups=[
            group(
                "docker",
                entry(b"/var/lib/docker", "images", kind=Kind.DIRECTORY, files=0),
                entry(b"/var/lib/docker/volumes", "volumes", kind=Kind.DIRECTORY),
                entry(
                    b"/var/lib",
                    "its owner, mode or attributes changed",
                    kind=Kind.DIRECTORY,
                    files=0,
                    status=Status.PROPERTIES,
                ),
            )
        ],
    )
    assert """
docker     persist          1  3.0 kB  1 hour
  /var/lib/
      its owner, mode or attributes changed
  /var/lib/docker/volumes/
      volumes
""" in render(report, NOW, Style(80))


def test_an_empty_directory_alone_is_listed():
    report = replace(
        NOTHING, groups=[group("x", entry(b"/srv/empty", "new", kind=Kind.DIRECTORY, files=0))]
    )
    assert "\n  /srv/empty/\n      new\n" in render(report, NOW, Style(80))


def test_only_the_service_is_coloured():
    text = render(FULL, NOW, Style(100, lambda text, severity: f"<{severity}:{text}>"))
    assert re.findall(r"<.*?>", text) == [
        "<critical:openssh>",
        "<normal:NetworkManager>",
        "<normal:unrecognised>",
    ]
    assert re.sub(r"<\w+:(.*?)>", r"\1", text) == WIDE


@pytest.mark.parametrize(
    ("report", "line"),
    [
        (NOTHING, "Nothing would be lost at reboot.\n"),
        (
            FULL,
            "6 files and directories would be lost at reboot, 2 critical; 1 path could not be read.\n",
        ),
        (
            replace(NOTHING, skipped=FULL.skipped * 2),
            "Nothing would be lost at reboot; 2 paths could not be read.\n",
        ),
    ],
    ids=["nothing", "much", "unread"],
)
def test_brief_is_one_line(report, line):
    assert brief(report) == line


TEXTS = st.text(st.characters(exclude_categories=[]), max_size=40)
PATHS = st.binary(max_size=80).map(lambda name: b"/" + name)
ENTRIES = st.builds(
    entry,
    PATHS,
    TEXTS,
    verdict=st.sampled_from([Verdict.PERSIST, Verdict.REVIEW]),
    severity=st.sampled_from(Severity),
    kind=st.sampled_from(Kind),
    status=st.sampled_from(Status),
    files=st.integers(0, 10**7),
    bytes=st.integers(0, 2**62),
)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.builds(group, TEXTS, ENTRIES, ENTRIES), max_size=3),
    st.lists(st.builds(Kept, PATHS, TEXTS), max_size=3),
    st.lists(st.builds(Skipped, PATHS, TEXTS), max_size=2),
    st.lists(st.builds(Hidden, PATHS, PATHS, st.just(1), st.just(1), st.just(NOW)), max_size=2),
    PATHS,
    st.integers(60, 140),
)
def test_no_control_character_of_the_input_is_emitted_and_no_reason_cut(
    groups, kept, skipped, hidden, path, width
):
    report = replace(
        NOTHING,
        live=Root(path, path, 1, 1),
        groups=groups,
        kept=kept,
        skipped=skipped,
        hidden=hidden,
    )
    text = render(report, NOW, Style(width, verbose=1))
    lines = text.split("\n")
    assert all(line.isprintable() for line in lines)
    for line in lines:
        if line.startswith("  ") and "…" in line:
            assert columns(line) <= width
    written = "".join("".join(line.split()) for line in lines)
    for one in groups:
        for listed in one.entries:
            if listed.files:
                assert "".join(printable(listed.finding.why).split()) in written


@given(TEXTS.filter(str.isprintable), st.integers(5, 40))
def test_a_cut_text_keeps_its_ends_and_fits(text, width):
    short = cut(text, width)
    assert columns(short) <= width
    if short != text:
        left, _, right = short.partition("…")
        assert columns(text) > width
        assert text.startswith(left)
        assert text.endswith(right)


@pytest.mark.parametrize(
    ("text", "width", "short"),
    [
        ("abcdefghij", 10, "abcdefghij"),
        ("abcdefghij", 9, "abcd…ghij"),
        ("abcdefghij", 6, "ab…hij"),
        ("写真写真写真", 7, "写…写真"),
        ("e\u0301" * 4, 4, "e\u0301" * 4),
    ],
)
def test_texts_are_cut_in_the_middle_by_columns(text, width, short):
    assert cut(text, width) == short


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "future"),
        (0, "now"),
        (59, "now"),
        (60, "1 minute"),
        (3599, "59 minutes"),
        (86400, "1 day"),
        (13 * 86400, "1 week"),
        (45 * 86400, "1 month"),
        (800 * 86400, "2 years"),
    ],
)
def test_ages(seconds, text):
    assert age(NOW - seconds * 10**9, NOW) == text


def test_no_time_has_no_age():
    assert age(0, NOW) == "-"


def test_sizes_and_counts():
    assert [size(number) for number in (0, 1, 999, 1000, 5_400_000)] == [
        "0 B",
        "1 B",
        "999 B",
        "1.0 kB",
        "5.4 MB",
    ]
    assert [plural(1, "entry", "entries"), plural(2000, "file")] == ["1 entry", "2,000 files"]
