"""`drift scan`: what would be lost at the next reboot."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from drift.commands import options

if TYPE_CHECKING:
    from drift.pipeline import Request
    from drift.report import Report


@click.command(
    epilog="""\b
Examples:
  sudo drift scan
  sudo drift scan --live /mnt --blank root-blank
  sudo drift scan --json | jq .counts
  sudo drift scan --ncdu | ncdu -f -
  sudo drift scan --markdown > report.md
  sudo drift scan --prometheus --output /var/lib/node-exporter/drift.prom
"""
)
@options.request
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--brief", is_flag=True, help="Print one line.")
@click.option("--markdown", is_flag=True, help="Print a report to paste into an issue or a note.")
@click.option("--ncdu", is_flag=True, help="Print ncdu's export format: browse it with ncdu -f -.")
@click.option("--prometheus", is_flag=True, help="Print metrics for node exporter's textfiles.")
@click.option(
    "--output",
    type=options.BytesPath(),
    metavar="FILE",
    help="Write to this file, whole or not at all, instead of stdout.",
)
@click.option("--exit-code", is_flag=True, help="Exit with 1 if anything would be lost.")
@options.color
@options.quiet
@click.option("-v", "--verbose", is_flag=True, help="Also list what is safe to lose.")
def scan(
    request: Request,
    *,
    as_json: bool,
    brief: bool,
    markdown: bool,
    ncdu: bool,
    prometheus: bool,
    output: bytes | None,
    exit_code: bool,
    color: str,
    quiet: bool,
    verbose: bool,
) -> None:
    """Show what would be lost at the next reboot, grouped by service.

    Each line has a verdict: persist is state worth keeping, review is for you to look at.
    """
    from drift.errors import ExitCode, UsageError
    from drift.output_file import find_place, write_whole
    from drift.stakes import groups_at_stake

    forms = {
        "json": as_json,
        "brief": brief,
        "markdown": markdown,
        "ncdu": ncdu,
        "prometheus": prometheus,
    }
    if sum(forms.values()) > 1:
        raise UsageError(
            "--json, --brief, --markdown, --ncdu and --prometheus exclude each other",
            "choose one form",
        )
    form = next((name for name, wanted in forms.items() if wanted), "text")
    # A file that can't be is refused before the long work.
    place = None if output is None else find_place(output)
    if place is not None and color == "auto":
        color = "never"
    report = options.scanned(request, quiet=quiet).report
    result = _rendered(report, form, color=color, verbose=verbose)
    if place is None:
        options.write([result])
    else:
        write_whole(place, result if isinstance(result, bytes) else result.encode())
    if report.skipped:
        code = ExitCode.INCOMPLETE
    elif exit_code and groups_at_stake(report):
        code = ExitCode.AT_STAKE
    else:
        code = ExitCode.DONE
    click.get_current_context().exit(code)


def _rendered(report: Report, form: str, *, color: str, verbose: bool) -> str | bytes:
    now = time.time_ns()
    match form:
        case "json":
            from drift.render import scan_json

            return scan_json.render(report)
        case "markdown":
            from drift.render import markdown

            return markdown.render(report, now, verbose=verbose)
        case "ncdu":
            from drift.render import ncdu

            return ncdu.render(report, now, verbose=verbose)
        case "prometheus":
            from drift.render import prometheus

            return prometheus.render(report, now)
    from drift.render import scan_text

    if form == "brief":
        return scan_text.brief(report)
    style = scan_text.Style(options.line_width(), options.severity_painter(color), verbose)
    return scan_text.render(report, now, style)
