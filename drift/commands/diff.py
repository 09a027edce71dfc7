"""`drift diff`: every single difference, without rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from drift.commands import options

if TYPE_CHECKING:
    from collections.abc import Callable

    from drift.locate import Located

if TYPE_CHECKING:
    from drift.model import Skipped


@click.command(
    epilog="""\b
Examples:
  sudo drift diff
  sudo drift diff --blank root-blank --json | jq -r .path
  drift diff --live /srv/new --blank /srv/old
"""
)
@options.roots
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@click.option("-z", "nul", is_flag=True, help="End fields and lines with NUL; raw names.")
@options.quiet
def diff(
    live: bytes | None,
    blank: bytes | None,
    engine: str,
    *,
    as_json: bool,
    nul: bool,
    quiet: bool,
) -> None:
    """List every difference from the blank, one a line.

    Nothing is judged or left out. The letter in front tells what differs: A added, D deleted, M modified, T another type, P other owner, mode or xattrs, R renamed.
    """
    from drift.compare import differences, listed
    from drift.errors import ExitCode, UsageError
    from drift.locate import locate
    from drift.render import diff as render

    if as_json and nul:
        raise UsageError("--json and -z exclude each other", "choose one")
    located = locate(live or b"/", blank, engine, explicit_live=live is not None)
    skipped: list[Skipped] = []
    progress = options.Progress(wanted=not quiet)
    try:
        with differences(located, skipped, progress=progress) as stream:
            if as_json:
                options.write(render.as_json(listed(stream), _hidden_by(located)))
            elif nul:
                options.write(render.as_nul(listed(stream)))
            else:
                options.write(render.as_text(listed(stream)))
    finally:
        progress.done()
        located.close()
    options.report_skipped(sorted(set(skipped), key=lambda item: item.path))
    click.get_current_context().exit(ExitCode.INCOMPLETE if skipped else ExitCode.DONE)


def _hidden_by(located: Located) -> Callable[[bytes], bytes | None]:
    """Tell which mount point covers a path, by the directories above it."""
    from drift.system.mounts import mounts_below

    points = {point.path for point in mounts_below(located.mounts, located.live_directory)}
    known: dict[bytes, bytes | None] = {b"": None}

    def hidden_by(path: bytes) -> bytes | None:
        directory = path.rpartition(b"/")[0]
        if directory not in known:
            if len(known) > 65536:
                known.clear()
                known[b""] = None
            above = directory.rpartition(b"/")[0]
            parts = []
            while above not in known:
                parts.append(above)
                above = above.rpartition(b"/")[0]
            for part in reversed([directory, *parts]):
                over = known[part.rpartition(b"/")[0]]
                known[part] = over if over is not None else part if part in points else None
        return known[directory]

    return hidden_by
