"""`drift scan`: what would be lost at the next reboot."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING

import click

from drift.commands import options

if TYPE_CHECKING:
    from collections.abc import Callable

    from drift.pipeline import Request

# Lines follow COLUMNS or the terminal's width; elsewhere they may be this long.
WIDTH = 100
# The table's own columns take this much.
NARROWEST = 60


@click.command(
    epilog="""\b
Examples:
  sudo drift scan
  sudo drift scan --live /mnt --blank root-blank
  sudo drift scan --json | jq .counts
"""
)
@options.request
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--exit-code", is_flag=True, help="Exit with 1 if anything would be lost.")
@click.option("--brief", is_flag=True, help="Print one line.")
@options.color
@options.quiet
@click.option("-v", "--verbose", is_flag=True, help="Also list what is safe to lose.")
def scan(
    request: Request,
    *,
    as_json: bool,
    exit_code: bool,
    brief: bool,
    color: str,
    quiet: bool,
    verbose: bool,
) -> None:
    """Show what would be lost at the next reboot, grouped by service.

    Each line has a verdict: persist is state worth keeping, review is for you to look at.
    """
    from drift.errors import ExitCode
    from drift.render import scan_json, scan_text

    report = options.scanned(request, quiet=quiet).report
    if as_json:
        options.write([scan_json.render(report)])
    elif brief:
        options.write([scan_text.brief(report)])
    else:
        style = scan_text.Style(_width(), _painter(color), verbose)
        options.write([scan_text.render(report, time.time_ns(), style)])
    at_stake = any(group.verdict in scan_text.AT_STAKE for group in report.groups)
    if report.skipped:
        code = ExitCode.INCOMPLETE
    elif exit_code and at_stake:
        code = ExitCode.AT_STAKE
    else:
        code = ExitCode.DONE
    click.get_current_context().exit(code)


def _width() -> int:
    return max(NARROWEST, shutil.get_terminal_size((WIDTH, 24)).columns)


def _painter(choice: str) -> Callable[[str, str], str]:
    if not options.wants_color(choice):
        return lambda text, _: text
    colors = {"critical": "red", "high": "yellow", "normal": None, "low": "bright_black"}
    return lambda text, severity: click.style(
        text, fg=colors.get(severity), bold=severity == "critical"
    )
