"""The manual pages, the completions, the help and the README say what the commands are."""

import inspect
import os
import pty
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from terminal import Terminal

from drift import manual
from drift.cli import COMMANDS, cli
from drift.errors import ExitCode
from drift.render.man_page import Item, Page, Section, Verbatim, render_page
from drift.rulebook.sources import SYSTEM_RULES

PROJECT = Path(__file__).parents[1]
README = (PROJECT / "README.md").read_text()


def every_command():
    """Each command with its context, as click finds them from COMMANDS on."""
    return list(manual.contexts(click.Context(cli, info_name="drift")))


def page_name(context):
    return context.command_path.replace(" ", "-")


CONTEXTS = every_command()
PAGES = manual.pages()
by_command = pytest.mark.parametrize(
    "context", CONTEXTS, ids=[one.command_path for one in CONTEXTS]
)


def plain(roff):
    """The text of a page, without its escapes."""
    for escape, letter in (
        *((r"\-", "-"), (r"\(aq", "'"), (r"\(ga", "`"), (r"\(ti", "~"), (r"\(dq", '"')),
        *((r"\(ha", "^"), (r"\&", ""), (r"\fB", ""), (r"\fI", ""), (r"\fR", "")),
    ):
        roff = roff.replace(escape, letter)
    return roff.replace(r"\e", "\\")


# The pages.


def test_there_is_a_page_for_each_command():
    assert set(PAGES) == {page_name(context) for context in CONTEXTS}
    assert {name for name in PAGES if name.count("-") == 1} == {
        f"drift-{name}" for name in COMMANDS
    }


def test_the_first_page_lists_every_command():
    listed = re.findall(r"^drift-(\S+)\(1\)$", plain(PAGES["drift"]), re.MULTILINE)
    assert listed == sorted(COMMANDS)


@by_command
def test_a_page_has_every_option_with_its_help(context):
    text = plain(PAGES[page_name(context)])
    for option in context.command.get_params(context):
        if isinstance(option, click.Option) and not option.hidden:
            names, help_text = option.get_help_record(context)
            assert f".TP\n{names}\n{help_text.replace('  [', ' [')}\n" in text


@by_command
def test_a_page_says_what_the_help_says(context):
    text = plain(PAGES[page_name(context)])
    for paragraph in inspect.cleandoc(context.command.help).split("\n\n"):
        # What is set line by line stays so.
        words = paragraph.removeprefix("\b\n") if paragraph.startswith("\b") else paragraph.split()
        said = words if isinstance(words, str) else " ".join(words)
        assert said in text
    assert f"\n.SH SYNOPSIS\n{context.command_path} " in text
    for line in manual.examples(context.command):
        assert f"\n{line}\n" in text


@by_command
def test_every_option_is_explained_and_every_help_has_an_example(context):
    without = [
        option.opts
        for option in context.command.params
        if isinstance(option, click.Option) and not option.help
    ]
    assert without == []
    assert [line for line in manual.examples(context.command) if "drift" in line] != []
    first = inspect.cleandoc(context.command.help).split("\n\n")[0]
    assert first.endswith(".")


def test_the_exit_codes_environment_and_files_are_those_of_the_program():
    assert set(manual.EXIT_STATUS) == set(ExitCode)
    read = set()
    for file in PROJECT.glob("drift/**/*.py"):
        read |= set(re.findall(r'environ(?:\.get\(|\[)"([A-Z_]+)"', file.read_text()))
    # Everything has these two.
    assert set(manual.ENVIRONMENT) == read - {"HOME", "PATH"}
    assert f"{SYSTEM_RULES}/*.toml" in manual.FILES
    first = plain(PAGES["drift"])
    for term in (*manual.ENVIRONMENT, *manual.FILES):
        assert f".TP\n{term}\n" in first


SAMPLE = Page(
    "foo-bar",
    "do a thing",
    "foo 1.0",
    [
        Section("SYNOPSIS", [Item(["foo bar ", "[OPTIONS]"], "")]),
        Section("DESCRIPTION", ['.dot first: it\'s ~ \\n "so" é', "More."]),
        Section("OPTIONS", [Item(["-a, --all ", "NAME"], "All of it."), Item(["--x"], "X.")]),
        Section("EXAMPLES", [Verbatim(["foo --all | wc -l", "'quoted' `x` ^"])]),
    ],
)


def test_a_page_as_roff():
    assert (
        render_page(SAMPLE)
        == r"""
.TH "FOO\-BAR" "1" "" "foo 1.0" "drift"
.SH NAME
foo\-bar \- do a thing
.SH SYNOPSIS
\fBfoo bar \fR\fI[OPTIONS]\fR
.SH DESCRIPTION
\&.dot first: it\(aqs \(ti \en \(dqso\(dq \[u00E9]
.PP
More.
.SH OPTIONS
.TP
\fB\-a, \-\-all \fR\fINAME\fR
All of it.
.TP
\fB\-\-x\fR
X.
.SH EXAMPLES
.RS 4
.nf
foo \-\-all | wc \-l
\(aqquoted\(aq \(gax\(ga \(ha
.fi
.RE
""".lstrip()
    )


def shown(roff, tmp_path):
    """What man prints of a page, and what it complains of."""
    file = tmp_path / "page.1"
    file.write_text(roff)
    done = subprocess.run(
        ["man", "--warnings", "-E", "UTF-8", "-l", file],
        env={"PATH": os.environ["PATH"], "MANWIDTH": "72", "LANG": "C.UTF-8", "PAGER": "cat"},
        capture_output=True,
        check=False,
    )
    return done.stdout.decode(), done.stderr.decode()


def need(program):
    if shutil.which(program) is None:
        pytest.skip(f"needs the program {program}")


def test_man_shows_a_page_as_it_is_meant(tmp_path):
    need("man")
    text, complaint = shown(render_page(SAMPLE), tmp_path)
    assert complaint == ""
    assert '       .dot first: it\'s ~ \\n "so" é\n' in text
    assert "       -a, --all NAME\n              All of it.\n" in text
    assert "           foo --all | wc -l\n           'quoted' `x` ^\n" in text


def test_man_finds_no_fault_in_any_page(tmp_path):
    need("man")
    complaints = {name: shown(roff, tmp_path)[1] for name, roff in PAGES.items()}
    assert complaints == dict.fromkeys(PAGES, "")


MACROS = {".TH", ".SH", ".PP", ".TP", ".RS", ".RE", ".nf", ".fi"}


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1))
def test_no_text_becomes_a_request(text):
    page = SAMPLE._replace(
        sections=[Section("X", [text, Verbatim([text]), Item([text, text], text)])]
    )
    lines = render_page(page).splitlines()
    assert {line.split(" ")[0] for line in lines if line.startswith((".", "'"))} <= MACROS
    assert len(lines) == 14


# The examples.


def command_lines(line):
    """The arguments of each drift in a line of shell."""
    words = shlex.shlex(line, posix=True, punctuation_chars="|<>;&")
    words.whitespace_split = True
    words.commenters = ""
    found, arguments = [], None
    for word in words:
        if set(word) <= set("|<>;&"):
            arguments = None
        elif arguments is not None:
            arguments.append(word)
        elif word == "drift":
            arguments = []
            found.append(arguments)
    return found


def parse(arguments):
    """Let click take the arguments as the program would; an error of usage passes through."""
    context, command, rest = None, cli, list(arguments)
    name = "drift"
    while isinstance(command, click.Group) and rest:
        context = click.Context(command, context, name)
        name = rest.pop(0)
        command = command.get_command(context, name)
        assert command is not None, arguments
    command.make_context(name, rest, parent=context)


@by_command
def test_the_examples_are_valid_command_lines(context):
    parsed = [
        arguments for line in manual.examples(context.command) for arguments in command_lines(line)
    ]
    assert parsed
    for arguments in parsed:
        parse(arguments)


def test_the_command_lines_of_the_readme_are_valid():
    blocks = re.findall(r"^```console\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    lines = [
        line[2:] for block in blocks for line in block.splitlines() if line[:2] in ("$ ", "# ")
    ]
    # In a sentence a command may stand without the arguments that it needs.
    lines += [
        line for line in re.findall(r"`((?:sudo )?drift [^`]+)`", README) if line.count(" ") > 1
    ]
    parsed = [arguments for line in lines for arguments in command_lines(line)]
    assert len(parsed) > 10
    for arguments in parsed:
        parse(arguments)


def test_an_example_that_click_would_refuse_is_noticed():
    with pytest.raises(click.UsageError):
        parse(command_lines("sudo drift scan --nope | less")[0])


# The completions.


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """What `python -m drift.manual` makes, and a `drift` in a PATH of its own."""
    directory = tmp_path_factory.mktemp("installed")
    done = subprocess.run(
        [sys.executable, "-m", "drift.manual", directory],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    program = directory / "bin/drift"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nPYTHONPATH={PROJECT} exec {sys.executable} -m drift "$@"\n')
    program.chmod(0o755)
    return directory, done.stdout.splitlines()


def test_the_manual_is_written_below_a_directory(installed):
    directory, said = installed
    assert said == [
        *(f"{directory}/share/man/man1/{name}.1" for name in PAGES),
        f"{directory}/share/bash-completion/completions/drift",
        f"{directory}/share/zsh/site-functions/_drift",
        f"{directory}/share/fish/vendor_completions.d/drift.fish",
    ]
    assert Path(said[0]).read_text() == PAGES["drift"]
    starts = [Path(place).read_text().split("\n")[0] for place in said[-3:]]
    assert starts == ["_drift_completion() {", "#compdef drift", "function _drift_completion;"]


def test_the_manual_names_what_it_needs(tmp_path):
    def run(*arguments):
        done = subprocess.run(
            [sys.executable, "-m", "drift.manual", *arguments],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    assert run() == (1, "", "usage: python -m drift.manual DIRECTORY\n")
    (tmp_path / "file").touch()
    assert run(tmp_path / "file") == (1, "", f"{tmp_path}/file/share/man/man1: Not a directory\n")


def complete(line, **env):
    """What drift offers for the last word of `line`, by click's protocol."""
    words = line.split(" ")
    done = subprocess.run(
        [sys.executable, "-m", "drift"],
        cwd=PROJECT,
        env={
            "PATH": os.environ["PATH"],
            "_DRIFT_COMPLETE": "bash_complete",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
            **env,
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("drift ", [f"plain,{name}" for name in sorted(COMMANDS)]),
        ("drift rul", ["plain,rules"]),
        ("drift rules s", ["plain,show"]),
        ("drift rules show openss", ["plain,openssh"]),
        ("drift rules show OPENSS", ["plain,openssh"]),
        ("drift scan --bl", ["plain,--blank"]),
        ("drift scan --engine w", ["plain,walk"]),
        ("drift scan --live /m", ["dir,/m"]),
        ("drift scan --live /nowhere --blank no", ["dir,no", "plain,none"]),
        ("drift explain /etc/", ["file,/etc/"]),
        ("drift rules check ./", ["file,./"]),
        ("drift save /e", ["file,/e"]),
        ("drift record --user roo", ["plain,root"]),
        ("drift record -- /usr/bin/h", ["file,/usr/bin/h"]),
        ("drift scan --rules", ["plain,--rules"]),
    ],
)
def test_what_is_offered(line, offered):
    assert complete(line) == offered


@pytest.mark.btrfs
def test_subvolumes_are_offered_where_they_can_be_listed(lab):
    for name in ("root", "root-blank", "snapshots/root-blank", b"odd\n\xff"):
        lab.create(name)
    live = os.fsdecode(lab.mount_subvolume("root", lab.directory + b"/live"))
    assert complete(f"drift scan --live {live} --blank ") == [
        "dir,",
        "plain,root",
        "plain,root-blank",
        "plain,snapshots/root-blank",
        "plain,none",
    ]
    assert complete(f"drift lost --live {live} --old sn") == ["plain,snapshots/root-blank"]


def test_completing_loads_little():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "drift"],
        cwd=PROJECT,
        env={
            "PATH": os.environ["PATH"],
            "_DRIFT_COMPLETE": "bash_complete",
            "COMP_WORDS": "drift ",
            "COMP_CWORD": "1",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "drift.commands.completion" in loaded
    heavy = {"drift.pipeline", "drift.judge", "btrfsutil", "tabulate", "humanize", "tree_sitter"}
    assert heavy & loaded == set()


class Bash(Terminal):
    """An interactive bash in `directory`, instead of a drift."""

    def __init__(self, directory, environ):
        self.seen, self._read, self.code = "", 0, None
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.chdir(directory)
            line = ["bash", "--norc", "--noprofile", "-i"]
            os.execve(shutil.which("bash"), line, {"TERM": "dumb", "PS1": "ready> ", **environ})

    def enter(self, keys):
        """Type once the shell asks."""
        self.until("ready> ")
        self.answer_now(keys)


def test_bash_completes_commands_files_and_names(installed, tmp_path):
    need("bash")
    directory, _ = installed
    (tmp_path / "only-one-file").touch()
    (tmp_path / "drift/rules.d").mkdir(parents=True)
    (tmp_path / "drift/rules.d/zz-mine.toml").touch()
    script = directory / "share/bash-completion/completions/drift"
    path = f"{directory}/bin:{os.environ['PATH']}"
    with Bash(tmp_path, {"PATH": path, "XDG_CONFIG_HOME": str(tmp_path)}) as bash:
        bash.enter(f"bind 'set enable-bracketed-paste off'; source {script}\n")
        for typed, whole in (
            ("drift rules show zz-m", "drift rules show zz-mine "),
            ("drift explain ./only", "drift explain ./only-one-file "),
            ("drift sugg", "drift suggest "),
        ):
            bash.enter(f"{typed}\t")
            bash.until(whole)
            # Ctrl-A and # make a comment of it.
            bash.type("\x01#\n")
