"""What a shell may offer after <TAB>, beside commands, options and choices."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click
    from click.shell_completion import CompletionItem

    Items = list[CompletionItem[str]]


def files(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> Items:
    return [_item(incomplete, "file")]


def directories(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> Items:
    return [_item(incomplete, "dir")]


def blanks(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Directories, the live root's subvolumes, and `none`."""
    # First: bash forgets what came before it, and offers directories where nothing else fits.
    found = directories(ctx, param, incomplete)
    found += subvolumes(ctx, param, incomplete)
    return found + [_item("none")] * "none".startswith(incomplete)


def subvolumes(ctx: click.Context, _param: click.Parameter, incomplete: str) -> Items:
    """The subvolumes on the live root's filesystem; nothing where they can't be listed."""
    from drift.btrfs.roots import list_subvolumes
    from drift.errors import DriftError
    from drift.names import exact

    try:
        fd = os.open(ctx.params.get("live") or b"/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        names = sorted(exact(one.path) for one in list_subvolumes(fd).values() if one.path)
    except DriftError:
        return []
    finally:
        os.close(fd)
    return _plain(names, incomplete)


def users(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> Items:
    import pwd

    return _plain(sorted({user.pw_name for user in pwd.getpwall()}), incomplete)


def rule_names(ctx: click.Context, _param: click.Parameter, incomplete: str) -> Items:
    """Rule files by name, without reading them: there are a thousand."""
    from drift.rulebook import rule_sources
    from drift.rulebook.sources import rule_files

    names = set()
    for source in rule_sources(ctx.params.get("rule_paths") or (), os.environ):
        try:
            found = rule_files(source)
        except OSError:
            continue
        names |= {os.path.basename(file.path).removesuffix(".toml") for file in found}
    return _plain(sorted(names), incomplete)


def _plain(names: list[str], incomplete: str) -> Items:
    """Those that begin so, whatever the case; what the shell's protocol can't carry is left out."""
    return [
        _item(name)
        for name in names
        if name.casefold().startswith(incomplete.casefold()) and name.isprintable()
    ]


def _item(value: str, kind: str = "plain") -> CompletionItem[str]:
    # Imported here: every command loads this module, and few runs complete anything.
    from click.shell_completion import CompletionItem

    return CompletionItem(value, type=kind)
