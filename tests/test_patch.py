"""Diffs that patch(1) takes, and that a terminal can show."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drift.render.patch import render_patch


def patch(before, after, name=b"a.nix", **more):
    return b"".join(render_patch(name, before, after, **more))


def test_equal_texts_have_no_diff():
    assert patch(b"{ }\n", b"{ }\n") == b""


def test_a_diff_as_a_whole():
    assert patch(b"a\nb\n", b"a\nc\nb\n") == b"--- a.nix\n+++ a.nix\n@@ -1,2 +1,3 @@\n a\n+c\n b\n"


def test_a_missing_end_of_line_is_said():
    assert patch(b"a", b"a\n") == (
        b"--- a.nix\n+++ a.nix\n@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+a\n"
    )


def test_each_kind_of_line_has_its_colour():
    painted = patch(b"--a\nb\n", b"c\nb\n", name=b"--x", paint=lambda text, kind: f"[{kind}]{text}")
    assert painted.decode().splitlines() == [
        "[file]--- --x",
        "[file]+++ --x",
        "[hunk]@@ -1,2 +1,2 @@",
        "[-]---a",
        "[+]+c",
        "[ ] b",
    ]


def test_for_eyes_nothing_reaches_the_terminal_raw():
    shown = patch(b"\x1b[31m\xff\ttab\r\n", b"", paint=lambda text, _: text)
    assert shown.decode().splitlines()[3] == "-\\x1b[31m\\xff\ttab"


def test_an_odd_name_stays_in_its_line():
    assert patch(b"", b"a\n", name=b'a\n"b\\.nix').splitlines()[0] == b'--- "a\\012\\"b\\\\.nix"'


TEXTS = st.lists(
    st.sampled_from([b"a", b"b", b"\n", b"\n", b"\r", b"\x0c", b"@@ ", b"-", b"\xff"])
).map(b"".join)


@pytest.mark.skipif(shutil.which("patch") is None, reason="needs the program patch")
@settings(max_examples=40, deadline=None)
@given(TEXTS, TEXTS)
def test_patch_makes_the_new_text_of_the_old(tmp_path_factory, before, after):
    directory = tmp_path_factory.mktemp("patched")
    file = directory / "a.nix"
    file.write_bytes(before)
    said = patch(before, after)
    if said:
        done = subprocess.run(
            ["patch", "--binary", "-s", str(file)], input=said, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stdout
    assert (file.read_bytes() if file.exists() else b"") == after
