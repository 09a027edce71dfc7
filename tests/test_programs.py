"""Other programs run through one door: no shell, no terminal, errors as sentences."""

import subprocess
import sys

import pytest

from drift.errors import DriftError
from drift.system.programs import Completed, check, run


def sh(script):
    return ["sh", "-c", script]


def test_output_and_exit_code_come_back_apart():
    assert run(sh("echo out; echo err >&2; exit 3")) == Completed(3, b"out\n", b"err\n")


def test_arguments_are_bytes_and_meet_no_shell():
    odd = b"$(id) \xff *\n"
    assert run([b"printf", b"%s", odd]).stdout == odd


def test_the_locale_is_c_and_env_is_added(monkeypatch):
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("OTHER", "stays")
    said = check(sh('echo "$LC_ALL $OTHER $MINE"'), env={"MINE": "new"})
    assert said == b"C stays new\n"


def test_standard_input_is_never_inherited():
    # Were it inherited, cat would get the pipe's word.
    program = "from drift.system.programs import run; print(run(['cat']).stdout)"
    done = subprocess.run(
        [sys.executable, "-c", program], input=b"the terminal's", capture_output=True, check=True
    )
    assert done.stdout == b"b''\n"


def test_input_is_what_the_program_reads():
    assert check(["cat"], input=b"given") == b"given"


def test_root_programs_are_found_without_sbin_in_path(monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert check(sh('case "$PATH" in *:/usr/sbin:/sbin) echo yes;; esac')) == b"yes\n"


@pytest.mark.parametrize(
    ("name", "package"),
    [("no-such-program", "no-such-program"), ("mkfs.btrfs", "btrfs-progs")],
    ids=["its own name", "a package of another name"],
)
def test_a_missing_program_says_what_to_install(name, package, tmp_path):
    with pytest.raises(DriftError) as caught:
        run([str(tmp_path / name)])
    assert (caught.value.message, caught.value.hint) == (
        f"{name} is not installed",
        f"install {package}",
    )


def test_a_program_that_may_not_be_started(tmp_path):
    (tmp_path / "plain").write_text("")
    with pytest.raises(DriftError, match=r"^plain could not be started: Permission denied$"):
        run([str(tmp_path / "plain")])


def test_a_slow_program_is_killed():
    with pytest.raises(DriftError, match=r"^sleep did not finish within 0\.1 seconds$"):
        run(["sleep", "60"], timeout=0.1)


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ("echo; echo '  first' >&2; echo second >&2; exit 1", "first"),
        ("echo 'sh: its own name' >&2; exit 1", "its own name"),
        ("printf 'a\\033[31m\\377\\n' >&2; exit 1", r"a\x1b[31m\xff"),
        ("exit 7", "exit code 7"),
        ("kill -9 $$", "killed by signal 9"),
    ],
    ids=["first line", "named", "escaped", "silent", "killed"],
)
def test_failure_is_told_in_the_program_s_own_words(script, complaint):
    with pytest.raises(DriftError) as caught:
        check(sh(script))
    assert caught.value.message == f"sh failed: {complaint}"
