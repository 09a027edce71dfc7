"""Add to a .nix file what it lacks of a suggestion, and change nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from drift.caveats import is_utf8
from drift.errors import DriftError
from drift.names import shown
from drift.nixfile.layout import (
    Edit,
    Layout,
    add_bindings,
    add_elements,
    append_list,
    apply,
    spread,
)
from drift.nixfile.reading import Declared, Paths, read_declared
from drift.nixfile.survey import take_survey, way_of
from drift.nixfile.syntax import bindings, parse
from drift.nixfile.where import (
    OPTIONS,
    container_for,
    crowded_set,
    list_to_extend,
    refuse_opaque,
    refuse_several_modules,
    spot_of,
    unclear,
)
from drift.places import ancestors
from drift.render.nix import IMPERMANENCE, Form
from drift.render.nix_text import STEP, Item, attribute_name, list_lines, string
from drift.render.preservation import PRESERVATION
from drift.suggestion import Owner

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drift.nixfile.survey import ListPlace, Survey
    from drift.nixfile.where import Container
    from drift.suggestion import SuggestedDirectory, SuggestedFile, Suggestion


class LeftOut(NamedTuple):
    """What could not be added for one user, and why."""

    store: bytes
    user: str
    paths: tuple[bytes, ...]
    why: str


class Addition(NamedTuple):
    """The file as it would be, and what of the suggestion is not in it."""

    text: bytes
    left_out: tuple[LeftOut, ...] = ()


def add_missing(text: bytes, suggestion: Suggestion) -> Addition:
    """The file with what no store in it declares yet, in its own layout and with its comments.

    Writes impermanence's form, or preservation's into a file that has only that. DriftError, with
    the line, where the place to add to can't be told without evaluating the file; where that is so
    for a user's lists alone (`users.${name}`), the others are added.
    """
    declared = read_declared(text)
    option = _option(take_survey(text))
    wanted: list[Wanted] = []
    left_out: list[LeftOut] = []
    faults: list[DriftError] = []
    for want in _missing(suggestion, declared, _FORMS[option]):
        # What can't be told is told by the lines of the file as it is.
        try:
            _add(text, option, want)
        except DriftError as error:
            if want.user is None:
                raise
            faults.append(error)
            left_out.append(LeftOut(want.store, want.user, want.paths, error.message))
        else:
            wanted.append(want)
    if faults and not wanted:
        raise faults[0]
    changed = text
    for want in wanted:
        changed = _add(changed, option, want)
    _confirm(declared, changed, wanted)
    return Addition(changed, tuple(left_out))


class Wanted(NamedTuple):
    """What one list lacks; `user` is None for the system's."""

    store: bytes
    user: str | None
    kind: str
    items: tuple[Item, ...]
    paths: tuple[bytes, ...]


_FORMS = {"impermanence": IMPERMANENCE, "preservation": PRESERVATION}


def _option(survey: Survey) -> str:
    found = {binding.option for binding in survey.bindings}
    found |= {way.option for opaque in survey.opaque if (way := way_of(opaque.path)) is not None}
    if found == {"home-manager"}:
        raise DriftError(
            "the file declares home.persistence: it is a module of home-manager, not of NixOS",
            "give the file with environment.persistence, or add by hand what --nix=lists prints",
        )
    return "preservation" if found == {"preservation"} else "impermanence"


def _missing(suggestion: Suggestion, declared: Declared, form: Form) -> Iterator[Wanted]:
    """What is neither declared nor below a declared directory, list by list."""
    stores = [suggestion] if suggestion.cache is None else [suggestion, suggestion.cache]
    homes = {user.name: user.home for one in stores for user in one.users}
    directories, files = _declared_paths(declared, homes)

    def lacks(path: bytes) -> bool:
        above = (*ancestors(path), path)
        return is_utf8(path) and path not in files and directories.isdisjoint(above)

    def wanted(
        store: bytes,
        user: str | None,
        home: bytes,
        default: Owner,
        suggested: Sequence[SuggestedDirectory],
        loose: Sequence[SuggestedFile],
    ) -> Iterator[Wanted]:
        new_directories = [one for one in suggested if lacks(home + one.path)]
        new_files = [one for one in loose if lacks(home + one.path)]
        for kind, items, paths in (
            (
                "directories",
                [
                    Item(one.service, _why(one), form.directory(one.path, one.owner, default))
                    for one in new_directories
                ],
                [one.path for one in new_directories],
            ),
            (
                "files",
                [Item(one.service, _why(one), form.file(one, default)) for one in new_files],
                [one.path for one in new_files],
            ),
        ):
            if items:
                yield Wanted(store, user, kind, tuple(items), tuple(paths))

    root = Owner("root", "root", 0o755)
    for one in stores:
        yield from wanted(one.persist, None, b"", root, one.directories, one.files)
        for user in one.users:
            default = Owner(user.name, user.group, 0o755)
            yield from wanted(
                one.persist, user.name, user.home + b"/", default, user.directories, user.files
            )


def _why(suggested: SuggestedDirectory | SuggestedFile) -> str:
    return f"{suggested.title}: {suggested.why}"


def _declared_paths(
    declared: Declared, homes: dict[str, bytes]
) -> tuple[frozenset[bytes], frozenset[bytes]]:
    """All declared directories and files, absolute."""
    directories: list[bytes] = []
    files: list[bytes] = []
    for store in declared.stores.values():
        directories += store.directories
        files += store.files
        for name, paths in store.users.items():
            home = homes.get(name, b"/home/" + name.encode(errors="surrogateescape"))
            directories += [home + b"/" + path for path in paths.directories]
            files += [home + b"/" + path for path in paths.files]
    return frozenset(directories), frozenset(files)


def _add(text: bytes, option: str, want: Wanted) -> bytes:
    store = want.store
    survey = take_survey(text)
    refuse_several_modules(survey, option, store)
    layout = Layout(text, parse(text))
    place = list_to_extend(survey, option, store, want.user, want.kind)
    if place is not None:
        changed = apply(text, _extend(layout, place, want))
        crowded = crowded_set(place.node)
        if crowded is None or changed.count(b"\n") == text.count(b"\n"):
            return changed
        return _add(apply(text, spread(layout, crowded)), option, want)
    way = (store,) if want.user is None else (store, b"users", _bytes(want.user))
    container = container_for(survey, option, way)
    known = max(0, container.reached - len(OPTIONS[option]))
    refuse_opaque(survey, option, (*way, want.kind.encode()), known)
    # Beside what the user's other list is spelled like.
    dotted = any((place.store, place.user) == (store, want.user) for place in survey.lists)
    lines = _binding(container, option, want, dotted=dotted)
    return apply(text, add_bindings(layout, container.node, lines, container.after))


def _extend(layout: Layout, place: ListPlace, want: Wanted) -> Edit:
    spot = spot_of(place.node)
    if spot is None or (place.inherited and not spot.literal):
        raise unclear(place.node, f"the {want.kind} of {shown(place.store)}")
    add = add_elements if spot.literal else append_list
    return add(layout, spot.node, want.items)


def _binding(container: Container, option: str, want: Wanted, *, dotted: bool) -> list[str]:
    """One binding that gives the wanted list from within the container, not indented."""
    names = OPTIONS[option]
    way = [*names, string(want.store)]
    if want.user is not None:
        way += ["users", attribute_name(want.user)]
    rest = way[container.reached :]
    if not rest or (dotted and container.reached > len(names)):
        return list_lines(".".join([*container.keys, *rest, want.kind]), want.items, (), "")
    # A block of a store or a user is a set, for what may be added to it later.
    block = list_lines(want.kind, want.items, (), STEP)
    if container.reached > len(names):
        return [f"{'.'.join([*container.keys, *rest])} = {{", *block, "};"]
    if want.user is not None:
        *rest, users, user = rest
        block = [f"{STEP}{users}.{user} = {{", *(_deeper(line) for line in block), f"{STEP}}};"]
    block = [f"{'.'.join([*container.keys, *rest])} = {{", *block, "};"]
    return ["", *block] if any(bindings(container.node)) else block


def _deeper(line: str) -> str:
    return STEP + line if line else line


def _confirm(before: Declared, changed: bytes, wanted: Sequence[Wanted]) -> None:
    """What was declared still is, and what was wanted is: else nothing may be written."""
    after = read_declared(changed)
    expected = _all_paths(before)
    for want in wanted:
        expected |= {(want.store, want.user, want.kind, path) for path in want.paths}
    if _all_paths(after) != expected:
        raise DriftError(
            "drift can't add to this file without changing what it says",
            "add by hand what --nix=lists prints",
        )


def _all_paths(declared: Declared) -> set[tuple[bytes, str | None, str, bytes]]:
    return {
        (name, user, kind, path)
        for name, store in declared.stores.items()
        for user, paths in (
            (None, Paths(store.directories, store.files)),
            *store.users.items(),
        )
        for kind, listed in (("directories", paths.directories), ("files", paths.files))
        for path in listed
    }


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")
