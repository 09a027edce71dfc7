"""Print what the README shows of `drift scan`: run as root, paste, and the README is true again."""

import os

import click

from drift import demo, demo_tree
from drift.cli import cli

SHOWN = (b"/etc/machine-id", b"/etc/ssh", b"/etc/NetworkManager", b"/imperm_test", b"/srv", b"/tmp")


def main():
    demo_tree.STATE = tuple(item for item in demo_tree.STATE if item.path.startswith(SHOWN))
    demo_tree.UNDER_LOG = ()
    # As the guide has it, with nothing forgotten.
    demo.MOUNTS[b"lib"] = b"/var/lib"
    os.environ |= {"COLUMNS": "100", "XDG_CONFIG_HOME": "/nonexistent"}
    with demo.machine() as made:
        arguments = ["scan", "--live", os.fsdecode(made.live)]
        click.echo(f"$ drift {' '.join(arguments)}")
        cli.main(arguments, prog_name="drift", standalone_mode=False)


if __name__ == "__main__":
    main()
