"""Write the manual pages and the shell completions: `python -m drift.manual DIRECTORY`.

All of it is made from the commands themselves, below DIRECTORY as below /usr: share/man/man1,
share/bash-completion/completions, share/zsh/site-functions, share/fish/vendor_completions.d.
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

from drift import __version__
from drift.cli import cli
from drift.errors import ExitCode
from drift.render.man_page import Item, Page, Part, Section, Verbatim, render_page

if TYPE_CHECKING:
    from collections.abc import Iterator

EXIT_STATUS = {
    ExitCode.DONE: "Done. Of drift doctor, drift verify, and with --exit-code: and nothing is at"
    " stake.",
    ExitCode.AT_STAKE: "Done, and something is at stake: a check of drift doctor failed, drift"
    " verify found that something did not come back, drift save left something else in the store"
    " alone, or with --exit-code, state would be lost.",
    ExitCode.USAGE: "Wrong usage.",
    ExitCode.CANNOT_RUN: "It can't run here: not root, not Btrfs, no such subvolume, or rules that"
    " have faults.",
    ExitCode.INCOMPLETE: "Done, but something could not be read: it is listed with the reason.",
}

ENVIRONMENT = {
    "NO_COLOR": "If set, output has no colours unless --color always asks for them.",
    "COLUMNS": "How wide lines may be, in place of the terminal's width.",
    "XDG_CONFIG_HOME": "Where your own rules are, in place of ~/.config.",
    "XDG_RUNTIME_DIR": "Where compiled rules are kept for the next run.",
    "SUDO_USER": "Who called sudo: drift record runs its command as this user.",
    "DOAS_USER": "The same of doas.",
    "DRIFT_DEBUG": "If set, an internal error shows where in the program it happened.",
}

FILES = {
    "/etc/drift/rules.d/*.toml": "Rules of this machine, on top of those that come with drift.",
    "~/.config/drift/rules.d/*.toml": "Your own rules, on top of these.",
    "/persist/.drift/": "In persistent storage, wherever it is mounted: what drift noted about what"
    " was saved and reviewed, and what it moved aside.",
}

COMPLETIONS: dict[type[ShellComplete], str] = {
    BashComplete: "share/bash-completion/completions/drift",
    ZshComplete: "share/zsh/site-functions/_drift",
    FishComplete: "share/fish/vendor_completions.d/drift.fish",
}


def pages() -> dict[str, str]:
    """Each manual page by its name: drift's own, and one for each command below it."""
    found = [_page(context) for context in contexts(_context(cli, "drift", None))]
    return {page.name: render_page(page) for page in found}


def completions() -> dict[str, str]:
    """The completion script of each shell, by its place."""
    # Not what BashComplete has in its place: that runs bash, to see how old it is.
    return {
        place: ShellComplete.source(shell(cli, {}, "drift", "_DRIFT_COMPLETE"))
        for shell, place in COMPLETIONS.items()
    }


def contexts(context: click.Context) -> Iterator[click.Context]:
    """`context`, and those of all commands below its own."""
    yield context
    group = context.command
    if isinstance(group, click.Group):
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            if command is not None and not command.hidden:
                yield from contexts(_context(command, name, context))


def write(directory: Path) -> list[Path]:
    """Write everything below `directory`; OSError passes through."""
    files = {f"share/man/man1/{name}.1": text for name, text in pages().items()} | completions()
    written = []
    for place, text in files.items():
        path = directory / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def _context(command: click.Command, name: str, parent: click.Context | None) -> click.Context:
    return click.Context(command, parent, name, **command.context_settings)


def _page(context: click.Context) -> Page:
    command = context.command
    paragraphs = _paragraphs(command.help or "")
    summary, description = paragraphs[0], paragraphs[1:]
    assert isinstance(summary, str)
    is_top = context.parent is None
    sections = [
        Section("SYNOPSIS", [Item([f"{context.command_path} ", _synopsis(context)], "")]),
        Section("DESCRIPTION", [summary, *description]),
        Section("OPTIONS", list(_options(context))),
        Section("COMMANDS", list(_commands(context))),
        Section("EXIT STATUS", [Item([str(int(code))], EXIT_STATUS[code]) for code in ExitCode]),
        Section("ENVIRONMENT", _items(ENVIRONMENT) if is_top else []),
        Section("FILES", _items(FILES) if is_top else []),
        Section("EXAMPLES", [Verbatim(examples(command))]),
        Section("SEE ALSO", [_see_also(context)]),
    ]
    name = context.command_path.replace(" ", "-")
    source = f"drift {__version__}"
    return Page(name, _brief(summary), source, [one for one in sections if one.parts])


def examples(command: click.Command) -> list[str]:
    """The command lines that a command's help shows."""
    lines = inspect.cleandoc((command.epilog or "").replace("\b", "")).splitlines()
    return [line.strip() for line in lines if line.startswith(" ")]


def _paragraphs(text: str) -> list[Part]:
    """The paragraphs of a help text; what `\\b` says to leave alone line by line."""
    parts: list[Part] = []
    for block in inspect.cleandoc(text).split("\n\n"):
        lines = block.splitlines()
        if lines and lines[0] == "\b":
            parts.append(Verbatim([line.rstrip() for line in lines[1:]]))
        else:
            parts.append(" ".join(line.strip() for line in lines))
    return parts


def _brief(summary: str) -> str:
    """The first sentence, as `whatis` shows it."""
    sentence = re.split(r"(?<=\w)\.(?:\s|$)", summary)[0]
    return sentence[0].lower() + sentence[1:]


def _synopsis(context: click.Context) -> str:
    return " ".join(context.command.collect_usage_pieces(context))


def _options(context: click.Context) -> Iterator[Item]:
    for parameter in context.command.get_params(context):
        record = parameter.get_help_record(context)
        if record is None or not isinstance(parameter, click.Option):
            continue
        names, text = record
        term: list[str] = []
        for number, part in enumerate(names.split(", ")):
            name, _, value = part.partition(" ")
            term += [", " * bool(number) + name + " " * bool(value), value]
        yield Item(term, text.replace("  [", " ["))


def _commands(context: click.Context) -> Iterator[Item]:
    group = context.command
    if not isinstance(group, click.Group):
        return
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is not None and not command.hidden:
            summary = _paragraphs(command.help or "")[0]
            page = f"{context.command_path} {name}".replace(" ", "-")
            yield Item([f"{page}(1)"], str(summary))


def _items(meanings: dict[str, str]) -> list[Item]:
    return [Item([name], text) for name, text in meanings.items()]


def _see_also(context: click.Context) -> str:
    if context.parent is None:
        return "btrfs(8), configuration.nix(5)"
    return f"{context.parent.command_path.replace(' ', '-')}(1)"


def main() -> None:
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: python -m drift.manual DIRECTORY")
    try:
        written = write(Path(sys.argv[1]))
    except OSError as error:
        sys.exit(f"{error.filename}: {error.strerror}")
    sys.stdout.write("".join(f"{path}\n" for path in written))


if __name__ == "__main__":
    main()
