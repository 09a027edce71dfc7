"""The command line: commands are loaded when they are used, errors become sentences here."""

from __future__ import annotations

import errno
import gc
import os
import sys
from contextlib import suppress
from importlib import import_module
from typing import NoReturn

import click

from drift import __version__
from drift.errors import DriftError, ExitCode
from drift.names import printable, shown

# What shells say of a program that SIGINT ended.
INTERRUPTED = 130

# Each command's module and the name of its click command there.
COMMANDS = {
    "demo": ("drift.commands.demo", "demo"),
    "diff": ("drift.commands.diff", "diff"),
    "doctor": ("drift.commands.doctor", "doctor"),
    "explain": ("drift.commands.explain", "explain"),
    "guard": ("drift.commands.guard", "guard"),
    "lost": ("drift.commands.lost", "lost"),
    "record": ("drift.commands.record", "record"),
    "review": ("drift.commands.review", "review"),
    "rules": ("drift.commands.rules", "rules"),
    "save": ("drift.commands.save", "save"),
    "scan": ("drift.commands.scan", "scan"),
    "stale": ("drift.commands.stale", "stale"),
    "suggest": ("drift.commands.suggest", "suggest"),
    "verify": ("drift.commands.verify", "verify"),
}


class ReaderGoneError(Exception):
    """The reader of stdout has seen enough, as with `drift diff | head`."""


class LazyGroup(click.Group):
    """Loads a command's module when the command is asked for: starting must be quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name]
        command = getattr(import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            # click would call it a failure.
            raise ReaderGoneError from error


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  sudo drift scan
  sudo drift suggest --nix > persistence.nix
""",
)
@click.version_option(__version__, "--version", prog_name="drift")
def cli() -> None:
    """Tell what an impermanent NixOS root would lose at the next reboot.

    drift compares the live root with the blank snapshot it is restored from, groups what changed
    by service, and suggests what to add to environment.persistence. It never writes to either.
    """


def main() -> NoReturn:
    """Run drift as a program; every end is an exit code of the interface."""
    # A scan holds millions of small objects and no cycles worth looking for.
    gc.set_threshold(200_000, 20, 100)
    try:
        code = cli.main(prog_name="drift", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        _leave(error.exit_code)
    except click.Abort:
        complain(DriftError("interrupted"))
        _leave(INTERRUPTED)
    except DriftError as error:
        complain(error)
        _leave(error.exit_code)
    except ReaderGoneError:
        _drop_output()
        _leave(ExitCode.DONE)
    except MemoryError:
        complain(DriftError("the memory is used up", "free some, or compare a smaller root"))
        _leave(ExitCode.CANNOT_RUN)
    except OSError as error:
        complain(_sentence(error))
        _leave(ExitCode.CANNOT_RUN)
    except Exception as error:
        if os.environ.get("DRIFT_DEBUG"):
            raise
        complain(
            DriftError(
                f"internal error: {type(error).__name__}: {error}",
                "please report it, with what DRIFT_DEBUG=1 prints in front of the same command",
            )
        )
        _leave(ExitCode.CANNOT_RUN)
    _leave(code if isinstance(code, int) else ExitCode.DONE)


def complain(error: DriftError) -> None:
    click.echo(f"drift: {_lines(error.message)}", err=True)
    if error.hint:
        click.echo(f"hint: {_lines(error.hint)}", err=True)


def _lines(text: str) -> str:
    # A message may quote what a program said, or a name in an error of the system.
    return "\n".join(printable(line) for line in text.split("\n"))


def _sentence(error: OSError) -> DriftError:
    what = error.strerror or str(error)
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return DriftError("too many files are open", "raise the limit with ulimit -n")
    if error.filename is not None:
        name = error.filename
        return DriftError(f"{shown(os.fsencode(name))}: {what}")
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        # drift writes nothing else that it has not named.
        return DriftError(f"the output can't be written: {what}")
    return DriftError(f"the system refused: {what}", "look at the kernel log (dmesg)")


def _leave(code: int) -> NoReturn:
    try:
        sys.stdout.flush()
    except OSError as error:
        _drop_output()
        if not isinstance(error, BrokenPipeError) and code == ExitCode.DONE:
            complain(DriftError(f"the output can't be written: {error.strerror}"))
            code = ExitCode.CANNOT_RUN
    if os.environ.get("DRIFT_DEBUG"):
        # A profiler has something to say at the end.
        sys.exit(int(code))
    with suppress(OSError):
        sys.stderr.flush()
    # Python would take apart all that a scan holds, for a tenth of its time and to no end.
    os._exit(int(code))


def _drop_output() -> None:
    # What is buffered has no reader; at its end Python would complain about it.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
