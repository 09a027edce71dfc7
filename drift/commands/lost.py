"""`drift lost`: what the last boot took away, where earlier roots are kept."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import click

from drift.commands import completion, options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drift.btrfs.subvolumes import Subvolume
    from drift.errors import ExitCode
    from drift.locate import Located
    from drift.saving.source import Tree


@click.command(
    epilog="""\b
Examples:
  sudo drift lost
  sudo drift lost --old old_roots/2025-01-31_08:00:00
  sudo drift lost --restore /var/lib/bluetooth
"""
)
@click.argument("paths", nargs=-1, type=options.BytesPath(), metavar="[PATH]...")
@options.live
@options.rules
@options.persist
@click.option(
    "--old",
    type=options.BytesPath(),
    metavar="NAME",
    shell_complete=completion.subvolumes,
    help="The earlier root, a subvolume.  [default: the newest of old_roots or snapshots]",
)
@click.option("--restore", is_flag=True, help="Copy PATHs from it into persistent storage.")
@click.option("--replace", is_flag=True, help="Move aside what is different in the store.")
@click.option("--dry-run", is_flag=True, help="Only show what would be restored.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@options.quiet
def lost(
    paths: tuple[bytes, ...],
    live: bytes | None,
    rule_paths: tuple[str, ...],
    persist: tuple[bytes, ...],
    old: bytes | None,
    *,
    restore: bool,
    replace: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Show what the last boot took away.

    It compares the newest earlier root, where those are kept, with the live one. With --restore, copy the given PATHs from there into persistent storage, verified, as drift
    save does. The live root itself is not written to.
    """
    from drift import lost as earlier
    from drift.errors import ExitCode, UsageError
    from drift.locate import locate

    if restore != bool(paths):
        raise UsageError(
            "--restore and PATHs belong together", "as in drift lost --restore /var/lib/bluetooth"
        )
    located = locate(live or b"/", b"none", explicit_live=live is not None)
    code = ExitCode.DONE
    try:
        chosen = earlier.choose(located, old)
        if restore:
            code = _restore(
                located,
                chosen.subvolume,
                paths,
                persist,
                replace=replace,
                dry_run=dry_run,
                yes=yes,
                quiet=quiet,
            )
        else:
            progress = options.Progress(wanted=not quiet)
            try:
                report = earlier.read_lost(
                    located, chosen.subvolume, rule_paths, os.environ, progress=progress
                )
            finally:
                progress.done()
            from drift.render import lost_json, lost_text

            if as_json:
                options.write([lost_json.render(report)])
            else:
                options.write([lost_text.render(report, chosen.others, time.time_ns())])
                if not quiet:
                    click.echo(lost_text.next_steps(report), err=True, nl=False)
            options.report_skipped(report.skipped)
            if report.skipped:
                code = ExitCode.INCOMPLETE
    finally:
        located.close()
    click.get_current_context().exit(code)


def _restore(
    located: Located,
    old: Subvolume,
    paths: tuple[bytes, ...],
    persist: tuple[bytes, ...],
    *,
    replace: bool,
    dry_run: bool,
    yes: bool,
    quiet: bool,
) -> ExitCode:
    from drift.commands.copy_run import CopyRun
    from drift.names import shown
    from drift.saving import targets

    @contextmanager
    def tree() -> Iterator[Tree]:
        from drift.compare import open_top
        from drift.old_roots import old_tree

        with ExitStack() as stack, old_tree(open_top(located, stack), old) as opened:
            yield opened

    store = targets.main_store(located, persist)
    run = CopyRun(
        located,
        {store: targets.rooted(paths, located.live_directory)},
        tree=tree,
        look=tree,
        words=f"the earlier root {shown(old.path)}",
        replace=replace,
        quiet=quiet,
    )
    return run.show() if dry_run else run.save(yes=yes)
