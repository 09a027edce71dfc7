"""Options and habits that several commands share."""

from __future__ import annotations

import functools
import os
import sys
import time
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from drift.commands import completion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from click.shell_completion import CompletionItem

    from drift.model import Skipped
    from drift.pipeline import Request, Scan

Command = TypeVar("Command", bound="Callable[..., Any]")


# Lines follow COLUMNS or the terminal's width; elsewhere they may be this long.
WIDTH = 100
# A table's own columns take this much.
NARROWEST = 60


# Its type has a parameter for type checkers only: click before 8.4 knows none.
if TYPE_CHECKING:
    _BytesParameter = click.ParamType[bytes]
else:
    _BytesParameter = click.ParamType


class BytesPath(_BytesParameter):
    """A path as the kernel knows it: bytes."""

    name = "path"

    def __init__(self, *, directory: bool = False) -> None:
        """`directory` has shells offer nothing else."""
        self._complete = completion.directories if directory else completion.files

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> bytes:
        return value if isinstance(value, bytes) else os.fsencode(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        return self._complete(ctx, param, incomplete)


def roots(command: Command) -> Command:
    """--live, --blank and --engine."""
    for option in (
        click.option(
            "--engine",
            type=click.Choice(["auto", "generation", "metadata", "walk"]),
            default="auto",
            show_default=True,
            help="How to compare; auto takes the fastest way that is exact.",
        ),
        click.option(
            "--blank",
            type=BytesPath(),
            metavar="PATH|NAME|none",
            shell_complete=completion.blanks,
            help="The blank: a directory, a subvolume's name, or none for an empty one."
            "  [default: found by lineage, then by name]",
        ),
        live,
    ):
        command = option(command)
    return command


def live(command: Command) -> Command:
    return click.option(
        "--live",
        type=BytesPath(directory=True),
        metavar="PATH",
        help="The live root, wherever it is mounted.  [default: /]",
    )(command)


def rules(command: Command) -> Command:
    return click.option(
        "--rules",
        "rule_paths",
        multiple=True,
        type=click.Path(path_type=str),
        metavar="DIR|FILE",
        help="More rules, over the shipped, the system's and your own; repeatable.",
    )(command)


def persist(command: Command) -> Command:
    return click.option(
        "--persist",
        multiple=True,
        type=BytesPath(directory=True),
        metavar="PATH",
        help="Where persistent storage is mounted; repeatable, the first is suggested for."
        "  [default: found from declarations and mounts, else /persist]",
    )(command)


def config(command: Command) -> Command:
    return click.option(
        "--config",
        multiple=True,
        type=BytesPath(),
        metavar="FILE|FLAKE#HOST",
        help="Persistence that a .nix file declares (read) or a flake (nix eval); repeatable.",
    )(command)


def quiet(command: Command) -> Command:
    return click.option("-q", "--quiet", is_flag=True, help="Only the result, no notes.")(command)


def color(command: Command) -> Command:
    return click.option(
        "--color",
        type=click.Choice(["auto", "always", "never"]),
        default="auto",
        show_default=True,
        help="Colours; auto means on a terminal and without NO_COLOR.",
    )(command)


def request(command: Command) -> Command:
    """--live, --blank, --engine, --rules, --persist and --config, given as one `request`."""

    @functools.wraps(command)
    def asked(
        live: bytes | None,
        blank: bytes | None,
        engine: str,
        rule_paths: tuple[str, ...],
        persist: tuple[bytes, ...],
        config: tuple[bytes, ...],
        **others: Any,
    ) -> Any:
        from drift.pipeline import Request

        wanted = Request(live or b"/", blank, engine, live is not None, rule_paths, persist, config)
        return command(request=wanted, **others)

    # click lists options from the last decorator to the first.
    return cast("Command", roots(rules(persist(config(asked)))))


def scanned(request: Request, *, quiet: bool) -> Scan:
    """The scan that several commands begin with, with its progress and its notes on stderr."""
    from drift import pipeline

    progress = Progress(wanted=not quiet)
    try:
        found = pipeline.scan(request, os.environ, progress=progress)
    finally:
        progress.done()
    report_notes(found.notes)
    return found


def report_notes(notes: Sequence[str]) -> None:
    """Say on stderr what of a configuration could not be told."""
    from drift.names import printable

    for note in notes:
        click.echo(f"drift: {printable(note)}", err=True)


def wants_color(choice: str) -> bool:
    if choice == "auto":
        return sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return choice == "always"


def line_width() -> int:
    if not (sys.stdout.isatty() or os.environ.get("COLUMNS")):
        return WIDTH
    import shutil

    return max(NARROWEST, shutil.get_terminal_size((WIDTH, 24)).columns)


def severity_painter(choice: str) -> Callable[[str, str], str]:
    """Colour a text by its severity, as far as colours are wanted."""
    if not wants_color(choice):
        return lambda text, _: text
    colors = {"critical": "red", "high": "yellow", "normal": None, "low": "bright_black"}
    return lambda text, severity: click.style(
        text, fg=colors.get(severity), bold=severity == "critical"
    )


def write(parts: Iterable[str | bytes]) -> None:
    """Write to stdout in large pieces: all bytes, or all text, in UTF-8 or what a terminal can show."""
    sys.stdout.flush()
    out = sys.stdout.buffer
    encoding = sys.stdout.encoding or "utf-8"
    rest: Iterator[Any] = iter(parts)
    while held := list(islice(rest, 4096)):
        if isinstance(held[0], bytes):
            out.write(b"".join(held))
        else:
            out.write("".join(held).encode(encoding, "backslashreplace"))
    out.flush()


def report_skipped(skipped: Sequence[Skipped]) -> None:
    """Say on stderr what could not be read."""
    from drift.names import printable, shown
    from drift.render.text import plural

    if not skipped:
        return
    click.echo(f"drift: {plural(len(skipped), 'path')} could not be read:", err=True)
    for item in skipped:
        click.echo(f"  {shown(item.path)}: {printable(item.reason)}", err=True)


class Progress:
    """A count on stderr for work that takes over a second, when that is a terminal."""

    def __init__(self, *, wanted: bool) -> None:
        self._shown = False
        self._wanted = wanted and sys.stderr.isatty()
        self._next = time.monotonic() + 1

    def __call__(self, count: int) -> None:
        if not self._wanted:
            return
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + 0.1
        self._shown = True
        click.echo(f"\r\033[Kreading: {count:,} entries", err=True, nl=False)

    def done(self) -> None:
        if self._shown:
            click.echo("\r\033[K", err=True, nl=False)
            self._shown = False
