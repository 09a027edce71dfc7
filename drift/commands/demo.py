"""`drift demo`: the tour on a machine made for it."""

from __future__ import annotations

import click


@click.command(
    epilog="""\b
Example:
  drift demo
"""
)
@click.pass_context
def demo(context: click.Context) -> None:
    """Show drift at work on a small machine, made for the tour.

    The machine looks like NixOS and is removed at the end. As root it is a Btrfs filesystem in
    memory, mounted where nobody else sees it; otherwise it is two plain directories.
    """
    from drift.demo import FAREWELL, machine, run_tour

    drift = context.find_root().command

    def run(arguments: list[str]) -> None:
        drift.main(args=arguments, prog_name="drift", standalone_mode=False)

    with machine() as made:
        run_tour(made, run, click.echo)
    click.echo(FAREWELL)
