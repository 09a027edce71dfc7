"""The patterns of rules: their grammar, their faults, and names that match `*` and `?`; no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

LITERAL = 255
"""The weight of a literal component; see `weight`."""
END = 1
"""The weight of a pattern's end: above `**`, below any component that must be there."""
DEEP = 0


def pattern_faults(pattern: str) -> list[tuple[str, str]]:
    """What is wrong with a rule's pattern, each with a hint."""
    faults = path_faults(pattern, directory=False)
    parts = pattern.removeprefix("~").split("/")
    if any("**" in part and part != "**" for part in parts):
        faults.append(("** must stand alone between slashes", "within a component write *"))
    if not faults and all(part == "**" for part in parts[1:]):
        faults.append(("matches everything", "name what the rule is about"))
    return faults


def path_faults(path: str, *, directory: bool = True) -> list[tuple[str, str]]:
    """What is wrong with a path; a slash at the end is right where it may mark a directory."""
    if not path:
        return [("is empty", "start with / or ~/")]
    faults = []
    if not path.startswith(("/", "~/")):
        faults.append(("is a relative path", "start with / or ~/"))
    parts = path.split("/")
    if parts[-1] == "" and len(parts) > 1 and (not directory or path in ("/", "~/")):
        hint = "the root or a whole home can't be ruled" if path in ("/", "~/") else "leave it out"
        faults.append(("ends in a slash", hint))
    if "" in parts[1:-1]:
        faults.append(("has an empty component (//)", "write one slash"))
    if ".." in parts or "." in parts:
        faults.append(("has a component . or ..", "write the path without it"))
    if "\0" in path:
        faults.append(("has a NUL byte", "no path can hold one"))
    return faults


def split(pattern: str) -> tuple[bool, list[bytes]]:
    """Is the pattern below a home, and what are its components?"""
    home = pattern.startswith("~/")
    # A string from TOML holds no surrogates; one from a unit's file may.
    text = pattern.encode(errors="surrogateescape")
    return home, text[2 if home else 1 :].split(b"/")


def is_glob(component: bytes) -> bool:
    return b"*" in component or b"?" in component


def weight(component: bytes) -> int:
    """How specific a component is: literal, then the glob with more letters, then `**`."""
    if component == b"**":
        return DEEP
    if not is_glob(component):
        return LITERAL
    letters = len(component) - component.count(b"*") - component.count(b"?")
    return min(END + 1 + letters, LITERAL - 1)


class Glob(NamedTuple):
    """A component with `*` or `?`: what matches starts with `head` and ends with `tail`."""

    head: bytes
    tail: bytes
    matches: Callable[[bytes], bool]


def compile_glob(component: bytes) -> Glob:
    known = _globs.get(component)
    if known is None:
        first = min(place for place in map(component.find, (b"*", b"?")) if place >= 0)
        last = max(component.rfind(b"*"), component.rfind(b"?"))
        head, tail = component[:first], component[last + 1 :]
        simple = first == last and component[first] == ord("*")
        known = Glob(head, tail, _between(head, tail) if simple else _expression(component))
        _globs[component] = known
    return known


def _between(head: bytes, tail: bytes) -> Callable[[bytes], bool]:
    least = len(head) + len(tail)
    return lambda name: len(name) >= least and name.startswith(head) and name.endswith(tail)


def _expression(component: bytes) -> Callable[[bytes], bool]:
    # Compiled when first needed: an expression takes longer to compile than most walks to match.
    compiled: list[Callable[[str], object]] = []

    def matches(name: bytes) -> bool:
        if not compiled:
            import re
            from fnmatch import translate

            text = component.decode(errors="surrogateescape").replace("[", "[[]")
            compiled.append(re.compile(translate(text)).match)
        # As text, so that `?` is one character and not one byte of it.
        return compiled[0](name.decode(errors="surrogateescape")) is not None

    return matches


_globs: dict[bytes, Glob] = {}
