"""`drift rules`: list, check and show rule files."""

from __future__ import annotations

from pathlib import Path

import click


@click.group()
def rules() -> None:
    """List, check and show the rules that decide about paths."""


@rules.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
def check(files: tuple[Path, ...]) -> None:
    """Report every fault of rule files."""
    from drift.rulebook.faults import RuleFilesError
    from drift.rulebook.reading import read_rules
    from drift.rulebook.rule import Layer

    faults = []
    for path in files:
        faults += read_rules(path.read_bytes(), str(path), Layer.GIVEN)[1]
    if faults:
        click.echo("\n".join(map(str, faults)), err=True)
        raise SystemExit(RuleFilesError.exit_code)
    click.echo(f"{len(files)} files, no fault")
