"""`drift scan --json`: the whole object, compared with what the interface says of it."""

import json
import re
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from test_scan_text import BLANK, FULL, LIVE, NOTHING, NOW, entry, group

from drift.model import Root, Skipped
from drift.render.scan_json import render
from drift.report import Kept


def test_the_whole_object():
    report = replace(
        FULL, groups=[group("openssh", entry(b"/etc/ssh/key", "a key", uid=1, gid=2, mode=0o600))]
    )
    newest = (NOW - 3600 * 10**9) / 1e9
    assert json.loads(render(report)) == {
        "schema": "drift.scan/1",
        "live": {"path": "/", "subvolume": "root", "id": 256, "generation": 20},
        "blank": {"path": "root-blank", "subvolume": "root-blank", "id": 257, "generation": 10},
        "engine": "generation",
        "lineage": "live-from-blank",
        "base_generation": 10,
        "counts": {
            "changed": 1252,
            "regenerated": 40,
            "kept": 2,
            "ephemeral": 1200,
            "persist": 7,
            "review": 3,
        },
        "groups": [
            {
                "service": "openssh",
                "title": "openssh",
                "verdict": "persist",
                "severity": "normal",
                "files": 1,
                "bytes": 1000,
                "newest": newest,
                "entries": [
                    {
                        "path": "/etc/ssh/key",
                        "kind": "file",
                        "status": "A",
                        "verdict": "persist",
                        "why": "a key",
                        "rule": "rules/x.toml:1",
                        "files": 1,
                        "bytes": 1000,
                        "newest": newest,
                        "uid": 1,
                        "gid": 2,
                        "mode": "0600",
                    }
                ],
            }
        ],
        "kept": [
            {"path": "/home", "by": "subvolume home", "saved": True},
            {"path": "/persist", "by": "subvolume persist", "saved": True},
        ],
        "hidden": [
            {
                "path": "/var/log",
                "under": "/var/log",
                "files": 2,
                "bytes": 2500,
                "newest": NOW / 1e9,
            }
        ],
        "skipped": [{"path": "/var/bad\udcff", "reason": "the disk gave an error when reading it"}],
        "seconds": 0.1,
    }


def test_times_are_exact_to_the_nanosecond_wherever_they_are():
    exact = entry(b'/"newest": 5', '"newest": 7')
    exact.newest = 1_700_000_000_123_456_789
    text = render(replace(NOTHING, groups=[group('"newest": 6', exact)]))
    assert re.findall(r'(?<!\\)"newest": .*', text) == [
        '"newest": 1700000000.123456789,',
        '"newest": 1700000000.123456789,',
    ]
    (told,) = json.loads(text)["groups"]
    assert (told["service"], told["entries"][0]["path"], told["entries"][0]["why"]) == (
        '"newest": 6',
        '/"newest": 5',
        '"newest": 7',
    )


def test_no_blank_is_null():
    report = json.loads(render(replace(NOTHING, blank=None, base_generation=None)))
    assert (report["blank"], report["base_generation"], report["groups"]) == (None, None, [])


PATHS = st.binary(max_size=40).map(lambda name: b"/" + name)


@given(PATHS, PATHS, PATHS, PATHS)
def test_every_path_comes_back_exactly_and_no_control_character_is_raw(live, one, kept, skipped):
    text = render(
        replace(
            NOTHING,
            live=Root(live, live, 1, 1),
            groups=[group("x", entry(one, "why"))],
            kept=[Kept(kept, "by")],
            skipped=[Skipped(skipped, "reason")],
        )
    )
    assert text.isascii()
    assert text.replace("\n", "").isprintable()
    report = json.loads(text)
    said = [
        report["live"]["path"],
        report["live"]["subvolume"],
        report["groups"][0]["entries"][0]["path"],
        report["kept"][0]["path"],
        report["skipped"][0]["path"],
    ]
    assert [path.encode("utf-8", "surrogateescape") for path in said] == [
        live,
        live,
        one,
        kept,
        skipped,
    ]


def test_roots_are_told_apart_by_subvolume():
    report = json.loads(render(NOTHING))
    assert (report["live"]["id"], report["blank"]["id"]) == (LIVE.id, BLANK.id)
