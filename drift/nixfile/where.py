"""Where in a .nix file a list of persistent paths is extended, or a new one put."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from drift.errors import DriftError
from drift.names import shown
from drift.nixfile.survey import way_of
from drift.nixfile.syntax import SETS, bindings, call_of, excerpt, field, line_of, source

if TYPE_CHECKING:
    from tree_sitter import Node

    from drift.nixfile.survey import ListPlace, Survey

OPTIONS = {
    "impermanence": ("environment", "persistence"),
    "preservation": ("preservation", "preserveAt"),
}


def list_to_extend(
    survey: Survey, option: str, store: bytes, user: str | None, kind: str
) -> ListPlace | None:
    """The one list to add to, None where there is none yet; DriftError if that can't be told."""
    places = [
        place
        for place in survey.lists
        if (place.option, place.store, place.user, place.kind) == (option, store, user, kind)
    ]
    usable = [place for place in places if spot_of(place.node) is not None]
    certain = [place for place in usable if not place.conditional]
    if certain:
        return certain[0]
    if len(usable) > 1:
        lines = ", ".join(str(line_of(place.node)) for place in usable)
        raise DriftError(
            f"{kind} of {shown(store)} are given under several conditions (lines {lines})",
            "add to the right one by hand, with the lists of --nix=lists",
        )
    if not usable and places:
        raise unclear(places[0].node, f"the {kind} of {shown(store)}")
    return usable[0] if usable else None


def unclear(node: Node, what: str) -> DriftError:
    return DriftError(
        f"line {line_of(node)}: {what} can't be told without evaluating `{excerpt(node, 40)}`",
        "add by hand what --nix=lists prints",
    )


class Spot(NamedTuple):
    """Where to add elements: into a literal list, or behind an expression that gives one."""

    node: Node
    literal: bool


# Functions that give a list, not a property of the module system that only looks like one.
_PROPERTIES = (b"mkIf", b"mkMerge", b"mkOverride", b"mkOrder", b"optionalAttrs")
_AROUND = (b"mkBefore", b"mkAfter", b"mkForce", b"mkDefault")


def spot_of(node: Node) -> Spot | None:
    literal = _literal_list(node)
    if literal is not None:
        return Spot(literal, literal=True)
    if node.type in ("variable_expression", "select_expression"):
        return Spot(node, literal=False)
    if node.type == "apply_expression":
        name = call_of(node).name
        return None if name in (*_PROPERTIES, *_AROUND) else Spot(node, literal=False)
    if node.type == "binary_expression" and source(field(node, "operator")) == b"++":
        return Spot(node, literal=False)
    return None


def _literal_list(node: Node) -> Node | None:
    """The first literal list that is always part of the value."""
    match node.type:
        case "list_expression":
            return node
        case "parenthesized_expression":
            return _literal_list(field(node, "expression"))
        case "with_expression" | "let_expression":
            return _literal_list(field(node, "body"))
        case "binary_expression" if source(field(node, "operator")) == b"++":
            return _literal_list(field(node, "left")) or _literal_list(field(node, "right"))
        case "apply_expression":
            name, arguments = call_of(node)
            if name in _AROUND and len(arguments) == 1:
                return _literal_list(arguments[0])
            if name == b"mkIf" and len(arguments) == 2:
                return _literal_list(arguments[1])
    return None


def crowded_set(node: Node) -> Node | None:
    """The set around a list that is on one line with it."""
    row = node.start_point.row
    parent = node.parent
    while parent is not None and parent.type not in SETS:
        parent = parent.parent
    one_line = parent is not None and parent.start_point.row == row == parent.end_point.row
    return parent if one_line else None


def refuse_several_modules(survey: Survey, option: str, store: bytes) -> None:
    """A file that holds several modules, as for several machines, leaves open which is meant."""
    modules = {
        binding.module: line_of(binding.node)
        for binding in reversed(survey.bindings)
        if (binding.option, binding.store) == (option, store)
    }
    if len(modules) > 1:
        lines = ", ".join(str(line) for line in sorted(modules.values()))
        raise DriftError(
            f"several modules in the file declare {shown(store)} (lines {lines})",
            "add to the one of this machine by hand, with the lists of --nix=lists",
        )


def refuse_opaque(survey: Survey, option: str, way: tuple[bytes, ...], known: int) -> None:
    """What is not plain might hold the list already, or clash with it.

    The first `known` parts of the way are in the file as they are: none spelled otherwise counts.
    """
    for opaque in survey.opaque:
        found = way_of(opaque.path)
        if found is None or found.option != option or None in found.after[:known]:
            continue
        if all(part in (None, ours) for part, ours in zip(found.after, way, strict=False)):
            raise unclear(opaque.node, f"what {'.'.join(OPTIONS[option])} holds")


class Container(NamedTuple):
    """A literal set to put a binding into.

    `keys` spell the way from there to `reached`, how many parts of the whole way are behind it;
    `after` is the binding to stand behind.
    """

    node: Node
    keys: tuple[str, ...]
    reached: int
    after: Node | None = None


def container_for(survey: Survey, option: str, way: tuple[bytes, ...]) -> Container:
    """The set nearest to the end of `way`: the block itself, else one around it, or the module."""
    names = OPTIONS[option]
    top = names[0].encode()
    found: list[tuple[tuple[int, bool, int, bool], Container]] = []
    keys: tuple[str, ...]
    for place in survey.sets:
        split = way_of(place.path)
        if split is not None and split.option == option:
            if split.after == way[: len(split.after)]:
                container = Container(place.node, (), len(names) + len(split.after))
                found.append(_ranked(container, len(place.path), certain=not place.conditional))
        elif place.root and place.path in ((), (b"config",), (top,), (b"config", top)):
            # A module with `options` takes settings only below `config`.
            outside = place.path == () and _has_options(place.node)
            keys = ("config",) if outside else ()
            container = Container(place.node, keys, int(place.path[-1:] == (top,)))
            found.append(_ranked(container, len(place.path), certain=not place.conditional))
    for binding in survey.bindings:
        if binding.option == option and binding.store == way[0]:
            keys = tuple(key.decode(errors="surrogateescape") for key in binding.keys)
            container = Container(binding.holder, keys, len(names) + 1, binding.node)
            # The last of several.
            found.append(
                _ranked(container, binding.node.start_byte, certain=not binding.conditional)
            )
    if not found:
        raise DriftError(
            "the file is no NixOS module that drift can read: it gives no plain set",
            "save what --nix prints as a file of its own and import it",
        )
    return max(found, key=lambda one: one[0])[1]


def _ranked(
    container: Container, depth: int, *, certain: bool
) -> tuple[tuple[int, bool, int, bool], Container]:
    return (container.reached, not container.keys, depth, certain), container


def _has_options(node: Node) -> bool:
    """Whether a module is written with `options` or `config` at its top."""
    return any(
        binding.type == "binding"
        and source(field(binding, "attrpath").named_children[0]) in (b"options", b"config")
        for binding in bindings(node)
    )
