"""`drift save`: copy what would be lost into persistent storage, before it is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from drift.commands import options

if TYPE_CHECKING:
    from drift.commands.copy_run import CopyRun
    from drift.locate import Located
    from drift.model import Skipped
    from drift.pipeline import Request
    from drift.saving.targets import Targets


@click.command(
    epilog="""\b
Examples:
  sudo drift save --dry-run
  sudo drift save
  sudo drift save --yes /etc/machine-id /var/lib/bluetooth
"""
)
@click.argument("paths", nargs=-1, type=options.BytesPath(), metavar="[PATH]...")
@options.request
@click.option("--all", "all_entries", is_flag=True, help="Save what is for review as well.")
@click.option("--hidden", is_flag=True, help="Save what the root itself has below mount points.")
@click.option("--no-snapshot", is_flag=True, help="Read the live root as it is, not a snapshot.")
@click.option("--replace", is_flag=True, help="Move aside what is different in the store.")
@click.option("--dry-run", is_flag=True, help="Only show the plan.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@options.quiet
def save(
    paths: tuple[bytes, ...],
    request: Request,
    *,
    all_entries: bool,
    hidden: bool,
    no_snapshot: bool,
    replace: bool,
    dry_run: bool,
    yes: bool,
    quiet: bool,
) -> None:
    """Copy what would be lost into persistent storage.

    That is what drift suggest names, or just the given PATHs. Each entry is copied from a snapshot of the live root, verified, and then put in its place:
    it is there whole or not at all. What is different in the store is left alone.
    """
    from drift.commands.copy_run import tidy
    from drift.errors import ExitCode, UsageError
    from drift.locate import locate
    from drift.saving import targets as where

    if bool(paths) + all_entries + hidden > 1:
        raise UsageError("PATHs, --all and --hidden exclude each other", "run drift save for each")
    skipped: list[Skipped] = []
    found = None
    if not paths:
        found = options.scanned(request, quiet=quiet)
        skipped += found.report.skipped
    # The blank has been read; from here on only the live root matters.
    located = locate(request.live, b"none", explicit_live=request.explicit_live)
    try:
        targets: Targets
        if found is None:
            store = where.main_store(located, request.persist)
            targets = {store: where.rooted(paths, located.live_directory)}
        elif hidden:
            hidden_paths = [item.path for item in found.report.hidden]
            targets = {found.store: hidden_paths} if hidden_paths else {}
        else:
            from drift.commands.suggest import suggestion_of

            targets = where.suggested(found, suggestion_of(found, all_entries=all_entries))
        code = ExitCode.DONE
        if not targets:
            click.echo("Nothing to save.")
            if found is not None and not dry_run:
                tidy(located, found.store)
        else:
            run = _run_of(located, targets, snapshot=not no_snapshot, replace=replace, quiet=quiet)
            code = run.show() if dry_run else run.save(yes=yes)
    finally:
        located.close()
    options.report_skipped(skipped)
    if code is ExitCode.DONE and skipped:
        code = ExitCode.INCOMPLETE
    click.get_current_context().exit(code)


def _run_of(
    located: Located, targets: Targets, *, snapshot: bool, replace: bool, quiet: bool
) -> CopyRun:
    from drift.commands.copy_run import CopyRun
    from drift.saving.snapshot import live_tree, snapshot_tree

    wanted = [path for paths in targets.values() for path in paths]
    snapshot = snapshot and located.live_subvolume is not None
    return CopyRun(
        located,
        targets,
        tree=lambda: snapshot_tree(located, wanted) if snapshot else live_tree(located),
        look=lambda: live_tree(located),
        words="a snapshot of the live root" if snapshot else "the live root",
        replace=replace,
        quiet=quiet,
    )
