"""Find the places of a .nix file that have to do with persistence."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from drift.errors import DriftError
from drift.nixfile.elements import HANDED_ON, Element, elements_of, operands
from drift.nixfile.syntax import (
    Scope,
    bindings,
    call_of,
    field,
    inner_scope,
    key_of,
    parse,
    source,
)

if TYPE_CHECKING:
    from tree_sitter import Node


class ListPlace(NamedTuple):
    """Where a list of directories or files is given; `user` is None for the system's."""

    option: str
    store: bytes
    user: str | None
    kind: str
    node: Node
    scope: Scope
    conditional: bool
    inherited: bool
    elements: tuple[Element, ...]


class SetPlace(NamedTuple):
    """A literal set; `path` leads to it from the outermost set that it is part of.

    `root` says that this outermost set is the module itself.
    """

    path: tuple[bytes | None, ...]
    node: Node
    conditional: bool
    root: bool


class BindingPlace(NamedTuple):
    """A binding that reaches into a store from a set outside it; `keys` spell the way there.

    `module` tells the modules apart that one file may hold, as a flake does.
    """

    option: str
    store: bytes
    keys: tuple[bytes, ...]
    node: Node
    holder: Node
    conditional: bool
    module: tuple[int | None, tuple[bytes | None, ...]]


class Opaque(NamedTuple):
    """A value in the way to a list that only evaluation could tell."""

    path: tuple[bytes | None, ...]
    node: Node


class Survey:
    """Every place of a file that has to do with persistence."""

    def __init__(self) -> None:
        self.lists: list[ListPlace] = []
        self.sets: list[SetPlace] = []
        self.bindings: list[BindingPlace] = []
        self.opaque: list[Opaque] = []


# The options that declare persistence, and what they are called here.
OPTIONS = {
    (b"environment", b"persistence"): "impermanence",
    (b"preservation", b"preserveAt"): "preservation",
    (b"home", b"persistence"): "home-manager",
}
_LISTS = (b"directories", b"files")


class Way(NamedTuple):
    """A path of attributes, split at the option that declares persistence."""

    option: str
    before: tuple[bytes | None, ...]
    after: tuple[bytes | None, ...]


def way_of(path: tuple[bytes | None, ...]) -> Way | None:
    for start in range(len(path) - 1):
        option = OPTIONS.get(path[start : start + 2])  # type: ignore[arg-type]
        if option is not None and b"options" not in path[:start]:
            return Way(option, path[:start], path[start + 2 :])
    return None


def take_survey(text: bytes) -> Survey:
    surveyor = _Surveyor()
    try:
        surveyor.visit(parse(text), (), Scope({}), conditional=False, module=None)
    except RecursionError:
        # Names that stand for each other, or nesting that nobody writes by hand.
        raise DriftError("the file is nested too deeply for drift to read") from None
    return surveyor.survey


_CONDITIONS = (b"mkIf", b"optionalAttrs", b"optionals")


class _Surveyor:
    """`module` is where the outermost set of the module began, None for the file's own."""

    def __init__(self) -> None:
        self.survey = Survey()

    def visit(
        self,
        node: Node,
        path: tuple[bytes | None, ...],
        scope: Scope,
        *,
        conditional: bool,
        module: int | None,
    ) -> None:
        """Walk the value at `path` as far as it is plain."""
        inside = way_of(path) is not None

        def again(child: Node, within: Scope = scope, *, unsure: bool = conditional) -> None:
            self.visit(child, path, within, conditional=unsure, module=module)

        match node.type:
            case "attrset_expression":
                self._visit_set(node, path, scope, conditional=conditional, module=module)
            case "rec_attrset_expression":
                within = inner_scope(node, scope)
                self._visit_set(node, path, within, conditional=conditional, module=module)
            case "parenthesized_expression":
                again(field(node, "expression"))
            case "with_expression" | "assert_expression" | "function_expression":
                again(field(node, "body"))
            case "let_expression":
                again(field(node, "body"), inner_scope(node, scope))
            case "if_expression":
                again(field(node, "consequence"), unsure=True)
                again(field(node, "alternative"), unsure=True)
            case "binary_expression" if source(field(node, "operator")) == b"//":
                again(field(node, "left"))
                again(field(node, "right"))
            case "variable_expression" if (found := scope.find(source(node))) is not None:
                if inside:
                    again(*found)
            case "apply_expression":
                self._visit_call(node, path, scope, conditional=conditional, module=module)
            case _ if inside:
                self.survey.opaque.append(Opaque(path, node))
            case _:
                # Modules may stand in lists, as arguments of functions and so on.
                for child in node.named_children:
                    self.visit(child, (), scope, conditional=conditional, module=child.start_byte)

    def _visit_call(
        self,
        node: Node,
        path: tuple[bytes | None, ...],
        scope: Scope,
        *,
        conditional: bool,
        module: int | None,
    ) -> None:
        name, arguments = call_of(node)
        position = HANDED_ON.get(name)
        if position is not None and len(arguments) == position + 1:
            unsure = conditional or name in _CONDITIONS
            self.visit(arguments[position], path, scope, conditional=unsure, module=module)
        elif name == b"mkMerge" and len(arguments) == 1:
            for element in operands(arguments[0]):
                self.visit(element, path, scope, conditional=conditional, module=module)
        elif way_of(path) is not None:
            self.survey.opaque.append(Opaque(path, node))
        else:
            for argument in arguments:
                start = argument.start_byte
                self.visit(argument, (), scope, conditional=conditional, module=start)

    def _visit_set(
        self,
        node: Node,
        path: tuple[bytes | None, ...],
        scope: Scope,
        *,
        conditional: bool,
        module: int | None,
    ) -> None:
        self.survey.sets.append(SetPlace(path, node, conditional, module is None))
        for binding in bindings(node):
            if binding.type == "binding":
                keys = field(binding, "attrpath").named_children
                full = (*path, *(key_of(key, scope) for key in keys))
                value = field(binding, "expression")
                self._note_binding(
                    node, binding, path, full, conditional=conditional, module=module
                )
                if not self._take_list(value, full, scope, conditional=conditional):
                    self.visit(value, full, scope, conditional=conditional, module=module)
            elif way_of(path) is not None:
                self._inherit(binding, path, scope, conditional=conditional)

    def _note_binding(
        self,
        holder: Node,
        binding: Node,
        path: tuple[bytes | None, ...],
        full: tuple[bytes | None, ...],
        *,
        conditional: bool,
        module: int | None,
    ) -> None:
        keys = field(binding, "attrpath").named_children
        way, outside = way_of(full), way_of(path)
        if way is None or not way.after:
            return
        first = len(full) - len(keys)
        for position, key in enumerate(keys, first):
            if full[position] is None and position >= len(full) - len(way.after):
                # Which store, or whose home, takes evaluation.
                self.survey.opaque.append(Opaque(full, key.parent or key))
                return
        store = way.after[0]
        if store is not None and (outside is None or not outside.after):
            spelled = keys[: len(keys) - (len(way.after) - 1)]
            before = way.before[:-1] if way.before[-1:] == (b"config",) else way.before
            self.survey.bindings.append(
                BindingPlace(
                    way.option,
                    store,
                    tuple(source(key) for key in spelled),
                    binding,
                    holder,
                    conditional,
                    (module, before),
                )
            )

    def _inherit(
        self, binding: Node, path: tuple[bytes | None, ...], scope: Scope, *, conditional: bool
    ) -> None:
        for name in field(binding, "attrs").named_children:
            full = (*path, source(name))
            found = scope.find(source(name)) if binding.type == "inherit" else None
            if found is not None and self._take_list(
                *(found[0], full, found[1]), conditional=conditional, inherited=True
            ):
                continue
            way = way_of(full)
            if way is not None and (source(name) in (*_LISTS, b"users") or len(way.after) != 2):
                self.survey.opaque.append(Opaque(full, name))

    def _take_list(
        self,
        node: Node,
        path: tuple[bytes | None, ...],
        scope: Scope,
        *,
        conditional: bool,
        inherited: bool = False,
    ) -> bool:
        """Whether `path` is where a list, or an option of a store that is none, belongs."""
        way = way_of(path)
        if way is None or len(way.after) < 2:
            return False
        store, *rest = way.after
        if store is None:
            # The binding that leads here is named already.
            return True
        user = None
        if rest[0] == b"users":
            if len(rest) < 3:
                return False
            if rest[1] is None:
                return True
            user, rest = rest[1].decode(errors="surrogateescape"), rest[2:]
        elif way.option == "home-manager":
            user = _home_manager_user(way.before)
            if user is None and rest[0] in _LISTS:
                self.survey.opaque.append(Opaque(path, node))
                return True
        if len(rest) != 1 or rest[0] not in _LISTS:
            return len(rest) == 1
        kind = rest[0].decode()
        elements = tuple(elements_of(node, scope, user is None, 0))
        self.survey.lists.append(
            ListPlace(way.option, store, user, kind, node, scope, conditional, inherited, elements)
        )
        return True


def _home_manager_user(before: tuple[bytes | None, ...]) -> str | None:
    for start in range(len(before) - 2):
        if before[start : start + 2] == (b"home-manager", b"users"):
            name = before[start + 2]
            return None if name is None else name.decode(errors="surrogateescape")
    return None
