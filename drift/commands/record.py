"""`drift record`: run a command and learn where it keeps its state."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from drift.commands import completion, options

if TYPE_CHECKING:
    from pathlib import Path
    from pwd import struct_passwd


@click.command(
    context_settings={"allow_interspersed_args": False},
    epilog="""\b
Examples:
  sudo drift record -- htop
  sudo drift record -- htop > htop.toml
  sudo drift record --user root -- sh -c 'systemctl restart cups; sleep 10'
  sudo drift record --json -- firefox | jq -r '.written[] | select(.rule == null) | .path'
""",
)
@click.argument(
    "argv",
    nargs=-1,
    required=True,
    type=click.UNPROCESSED,
    shell_complete=completion.files,
    metavar="-- COMMAND [ARG]...",
)
@options.live
@options.rules
@click.option(
    "--user",
    metavar="NAME",
    shell_complete=completion.users,
    help="Run COMMAND as this user.  [default: who called sudo or doas, else you]",
)
@click.option("--service", metavar="NAME", help="Whose state it is.  [default: COMMAND's name]")
@click.option(
    "--output",
    type=options.BytesPath(),
    metavar="FILE",
    help="Write the rule file to FILE, which must not exist yet.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@options.quiet
def record(
    argv: tuple[str, ...],
    *,
    live: bytes | None,
    rule_paths: tuple[Path, ...],
    user: str | None,
    service: str | None,
    output: bytes | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Run COMMAND and learn where it keeps its state.

    drift lists what was written meanwhile and what decides about it already, and prints the rules
    that the rest would need.

    For that it reads the file names and times of every mounted Btrfs subvolume before COMMAND and
    after it. What other programs write in between is listed as well. A service goes on after
    COMMAND has started it: wait for it, as in the example.

    The rule file goes to stdout, all else to stderr, also what COMMAND prints where stdout is no
    terminal. Verdicts are guesses: read them, say in each rule why, and try the file with drift
    rules check. The exit code is drift's own; that of COMMAND is reported.
    """
    from drift.errors import ExitCode, UsageError
    from drift.output_file import find_place, write_whole
    from drift.record import record as record_run
    from drift.render import record_json, record_text
    from drift.system.programs import run_in_foreground

    if service is not None and not service.strip():
        raise UsageError("--service needs a name", "say whose state it is")
    if output is not None:
        output = find_place(output)
        _require_new(output)
    runner = _runner(user)
    progress = options.Progress(wanted=not quiet)
    # Where stdout is no terminal, it is for the result alone.
    stdout = None if sys.stdout.isatty() else sys.stderr.fileno()
    try:
        found = record_run(
            live or b"/",
            rule_paths,
            os.environ,
            service or os.path.basename(argv[0]) or argv[0],
            lambda: run_in_foreground(argv, user=runner, stdout=stdout),
            progress=progress,
            before=progress.done,
        )
    finally:
        progress.done()
    who = runner.pw_name if runner is not None else None
    if as_json:
        options.write([record_json.render(found, argv, who)])
    elif not quiet:
        # On a terminal the rule file follows.
        follows = bool(found.rule_file) and output is None and stdout is None
        click.echo(record_text.render(found, argv[0], who), err=True, nl=follows)
    if output is not None and found.rule_file:
        write_whole(output, found.rule_file.encode())
    elif not as_json:
        options.write([found.rule_file])
    if found.rule_file and not quiet and not as_json:
        click.echo(record_text.next_step(output), err=True, nl=False)
    options.report_skipped(found.skipped)
    click.get_current_context().exit(ExitCode.INCOMPLETE if found.skipped else ExitCode.DONE)


def _require_new(path: bytes) -> None:
    from drift.errors import DriftError
    from drift.names import shown

    if os.path.lexists(path):
        raise DriftError(
            f"{shown(path)} exists already", "name a new file: what you wrote there would be lost"
        )


def _runner(name: str | None) -> struct_passwd | None:
    """Whom the command runs as, None for as whom drift runs."""
    import pwd

    from drift.errors import UsageError
    from drift.names import printable

    caller = os.environ.get("SUDO_USER") or os.environ.get("DOAS_USER")
    wanted = name or (caller if os.geteuid() == 0 else None)
    if wanted is None:
        return None
    try:
        found = pwd.getpwnam(wanted)
    except KeyError:
        raise UsageError(f"there is no user {printable(wanted)}", "name one with --user") from None
    return None if found.pw_uid == os.geteuid() else found
