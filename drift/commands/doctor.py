"""`drift doctor`: is this machine's layout sound?"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from drift.commands import options

if TYPE_CHECKING:
    from collections.abc import Callable

    from drift.pipeline import Request


@click.command(
    epilog="""\b
Examples:
  sudo drift doctor
  sudo drift doctor --config /etc/nixos/impermanence.nix
  sudo drift doctor --json | jq '.checks[] | select(.level == "fail")'
"""
)
@options.request
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@options.color
@options.quiet
def doctor(
    request: Request,
    *,
    as_json: bool,
    color: str,
    quiet: bool,
) -> None:
    """Check whether root, blank and persistent storage are sound.

    Each check is one line: ok, warn or fail, the reason, and the cure. With --quiet, only what is
    not ok. The exit code is 1 if a check fails.
    """
    from drift.doctor import Level, examine
    from drift.doctor.reading import read_machine
    from drift.errors import ExitCode
    from drift.render import doctor_json, doctor_text

    progress = options.Progress(wanted=not quiet)
    try:
        gathered = read_machine(request, os.environ, progress=progress)
    finally:
        progress.done()
    checks = examine(gathered.machine)
    options.report_notes(gathered.notes)
    if as_json:
        options.write([doctor_json.render(checks, gathered.skipped)])
    else:
        told = [check for check in checks if not quiet or check.level is not Level.OK]
        options.write([doctor_text.render(told, _painter(color))])
        options.report_skipped(gathered.skipped)
    if any(check.level is Level.FAIL for check in checks):
        code = ExitCode.AT_STAKE
    elif gathered.skipped:
        code = ExitCode.INCOMPLETE
    else:
        code = ExitCode.DONE
    click.get_current_context().exit(code)


def _painter(choice: str) -> Callable[[str, str], str]:
    if not options.wants_color(choice):
        return lambda text, _: text
    colors = {"ok": "green", "warn": "yellow", "fail": "red"}
    return lambda text, level: click.style(text, fg=colors.get(level), bold=level == "fail")
