"""`drift verify`: did everything that was saved come back as it was?"""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from drift.commands import options

if TYPE_CHECKING:
    from collections.abc import Callable

    from drift.locate import Located
    from drift.saving.manifest import Manifest


@click.command(
    epilog="""\b
Examples:
  sudo drift verify
  sudo drift verify --json | jq '.checks[] | select(.problem)'
"""
)
@options.live
@options.persist
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("-v", "--verbose", is_flag=True, help="Also list what is as it should be.")
def verify(
    live: bytes | None,
    persist: tuple[bytes, ...],
    *,
    as_json: bool,
    verbose: bool,
) -> None:
    """Check that everything that was saved is in place.

    It can be run before the reboot and after it. Each entry has to be in place, mounted or linked from persistent storage, with the content,
    owner and mode that were saved. Exits with 1 if something is missing.
    """
    from drift.errors import ExitCode
    from drift.locate import locate
    from drift.persistence import read_persistence
    from drift.render import verify_json, verify_text
    from drift.saving.manifest import Manifest, open_private, read_manifest
    from drift.saving.source import Tree
    from drift.saving.store import open_top
    from drift.saving.targets import destination, origin_of
    from drift.verify import Verification
    from drift.verify import verify as run_verify

    located = locate(live or b"/", b"none", explicit_live=live is not None)
    parts = []
    at_stake, incomplete = False, False
    try:
        directory = located.live_directory
        persistence = read_persistence(located.mounts, directory, given=persist)
        first, *others = persistence.stores
        lasting = set(persistence.lasting_stores)
        stores = [first, *(store for store in others if not persist and store in lasting)]
        for store in stores:
            with ExitStack() as stack:
                place = destination(located, store)
                top = open_top(place.host, store)
                stack.callback(os.close, top)
                manifest: Manifest = Manifest()
                try:
                    private = open_private(top, make=False)
                    stack.callback(os.close, private)
                    manifest = read_manifest(private)
                except FileNotFoundError:
                    pass
                result: Verification = run_verify(
                    manifest,
                    Tree(top),
                    store,
                    directory,
                    origin_of(located),
                    persistence.declarations,
                    _search(located, stack),
                )
            if manifest.pending:
                click.echo(
                    "drift: a save was interrupted; run drift save again to complete it", err=True
                )
            at_stake = at_stake or result.at_stake or bool(manifest.pending)
            incomplete = incomplete or bool(result.skipped)
            parts.append(
                verify_json.render(result, store)
                if as_json
                else verify_text.render(result, store, verbose=verbose)
            )
            options.report_skipped(result.skipped)
    finally:
        located.close()
    options.write(parts)
    code = ExitCode.DONE
    if at_stake:
        code = ExitCode.AT_STAKE
    elif incomplete:
        code = ExitCode.INCOMPLETE
    click.get_current_context().exit(code)


def _search(located: Located, stack: ExitStack) -> Callable[[bytes], list[str]]:
    """Look for a path in the old roots, which are opened when first needed."""
    from drift.names import shown
    from drift.old_roots import holds, old_roots

    opened: list[int] = []

    def search(path: bytes) -> list[str]:
        filesystem, live = located.filesystem, located.live_subvolume
        if filesystem is None or live is None:
            return []
        if not opened:
            from drift.compare import open_top

            opened.append(open_top(located, stack))
        return [
            f"{shown(path)} in the old root {shown(old.path)}"
            for old in old_roots(live, filesystem.subvolumes)
            if holds(opened[0], old, path)
        ]

    return search
