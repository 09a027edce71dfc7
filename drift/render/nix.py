"""A suggestion as Nix for the impermanence module."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from humanize import naturalsize, naturaltime

from drift.caveats import is_utf8
from drift.model import Kind, Status
from drift.names import shown
from drift.places import PRIVATE, SHARED
from drift.render.nix_text import (
    STEP,
    WIDTH,
    Item,
    attribute_name,
    comment,
    item_in_line,
    list_lines,
    string,
)
from drift.suggestion import Owner, SuggestedFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from drift.report import Entry
    from drift.suggestion import SuggestedDirectory, Suggestion

    Attributes = Mapping[str, str | Mapping[str, str]]


class Form(NamedTuple):
    """How a module wants its elements; each takes the owner that it gives by default."""

    directory: Callable[[bytes, Owner, Owner], Attributes]
    file: Callable[[SuggestedFile, Owner], Attributes]


def render_module(suggestion: Suggestion, *, now: int | None = None) -> str:
    """A complete NixOS module; `now` in nanoseconds dates what is left for review."""
    store = string(suggestion.persist)
    block = block_lines(suggestion, IMPERMANENCE, STEP * 2, now)
    lines = ["{ ... }:", "{", *set_lines(f"environment.persistence.{store}", block)]
    if (cache := suggestion.cache) is not None:
        block = block_lines(cache, IMPERMANENCE, STEP * 2, now)
        lines += ["", *set_lines(f"environment.persistence.{string(cache.persist)}", block)]
    lines += guard_lines(suggestion)
    return "\n".join([*lines, "}"]) + "\n"


def render_lists(suggestion: Suggestion, *, now: int | None = None) -> str:
    """Only the lists, to be pasted into the block of the store; empty if there are none."""
    lines = block_lines(suggestion, IMPERMANENCE, "", now)
    if (cache := suggestion.cache) is not None:
        lines += [""] if lines else []
        lines += comment(f"These go into environment.persistence.{string(cache.persist)}:", "")
        lines += block_lines(cache, IMPERMANENCE, "", now)
    return "".join(line + "\n" for line in lines)


def impermanence_directory(path: bytes, owner: Owner, default: Owner) -> Attributes:
    return {"directory": string(path), **owner_attributes(owner, default)}


def impermanence_file(file: SuggestedFile, default: Owner) -> Attributes:
    attributes: dict[str, str | Mapping[str, str]] = {"file": string(file.path)}
    if file.method != "auto":
        attributes["method"] = string(file.method.encode())
    # The module makes a home itself by rules of its own, closed to others.
    in_home_itself = default.user != "root" and b"/" not in file.path
    if not in_home_itself and (parent := owner_attributes(file.parent, default)):
        attributes["parentDirectory"] = parent
    return attributes


IMPERMANENCE = Form(impermanence_directory, impermanence_file)


def owner_attributes(owner: Owner, default: Owner) -> dict[str, str]:
    """What differs from what the module does by itself."""
    attributes = {}
    if owner.user != default.user:
        attributes["user"] = string(owner.user.encode(errors="surrogateescape"))
    if owner.group != default.group:
        attributes["group"] = string(owner.group.encode(errors="surrogateescape"))
    if owner.mode != default.mode:
        attributes["mode"] = string(f"{owner.mode:04o}".encode())
    return attributes


def set_lines(name: str, block: Sequence[str]) -> list[str]:
    """`name = { ... };` one step in, around lines that are indented already."""
    if not block:
        return [f"{STEP}# Nothing to add.", f"{STEP}{name} = {{ }};"]
    return [f"{STEP}{name} = {{", *block, f"{STEP}}};"]


_ROOT = Owner("root", "root", 0o755)


def block_lines(suggestion: Suggestion, form: Form, indent: str, now: int | None) -> list[str]:
    """The lists of a store's block, users last."""
    homes = {user.home for user in suggestion.users}
    system = [entry for entry in suggestion.review if _home(entry.path, homes) is None]
    lines = _list_pair(
        suggestion.directories, suggestion.files, system, b"", form, _ROOT, indent, now
    )
    for user in suggestion.users:
        inside = [entry for entry in suggestion.review if _home(entry.path, homes) == user.home]
        own = _list_pair(
            user.directories,
            user.files,
            inside,
            user.home + b"/",
            form,
            Owner(user.name, user.group, 0o755),
            indent + STEP,
            now,
        )
        if own:
            name = attribute_name(user.name)
            lines += [f"{indent}users.{name} = {{", *own, f"{indent}}};"]
    return lines


def _home(path: bytes, homes: set[bytes]) -> bytes | None:
    return max((home for home in homes if path.startswith(home + b"/")), key=len, default=None)


def _list_pair(
    directories: Iterable[SuggestedDirectory],
    files: Iterable[SuggestedFile],
    review: Iterable[Entry],
    home: bytes,
    form: Form,
    default: Owner,
    indent: str,
    now: int | None,
) -> list[str]:
    places = [
        (d.path, Item(d.service, _reason(d), form.directory(d.path, d.owner, default)))
        for d in directories
    ]
    leaves = [(f.path, Item(f.service, _reason(f), form.file(f, default))) for f in files]
    inner = indent + STEP
    open_places: list[list[str]] = []
    open_leaves: list[list[str]] = []
    for entry in review:
        remark = _remark(entry, home, form, default, inner, now)
        (open_places if _is_directory(entry) else open_leaves).append(remark)
    return [
        *list_lines("directories", _held(places), _remarks(places, open_places, inner), indent),
        *list_lines("files", _held(leaves), _remarks(leaves, open_leaves, inner), indent),
    ]


def _reason(suggested: SuggestedDirectory | SuggestedFile) -> str:
    return f"{suggested.title}: {suggested.why}"


def _held(items: Iterable[tuple[bytes, Item]]) -> list[Item]:
    return [item for path, item in items if is_utf8(path)]


def _remarks(
    items: Iterable[tuple[bytes, Item]], review: Sequence[list[str]], indent: str
) -> list[str]:
    """Comment lines: names that can't be pasted, then what is left for the user to decide."""
    lines = []
    for path, _ in items:
        if not is_utf8(path):
            lines += comment(f"Left out, as its name is not UTF-8: {shown(path)}", indent)
    if review:
        lines += comment("Not recognised: uncomment what should stay.", indent)
    for remark in review:
        lines += remark
    return lines


def _is_directory(entry: Entry) -> bool:
    return entry.kind in (Kind.DIRECTORY, Kind.SUBVOLUME)


def _remark(
    entry: Entry, home: bytes, form: Form, default: Owner, indent: str, now: int | None
) -> list[str]:
    """The element commented out, with what is known about it."""
    path, finding = entry.path.removeprefix(home), entry.finding
    facts = f"{finding.why}: {describe(entry, now)}"
    obstacle = _obstacle(entry)
    if obstacle is not None:
        return comment(f"{shown(entry.path)}: {facts}; {obstacle}", indent)
    owner = Owner(
        finding.user or default.user,
        finding.group or default.group,
        default.mode if finding.mode is None else finding.mode,
    )
    if _is_directory(entry):
        attributes = form.directory(path, owner, default)
    else:
        method = finding.method or "auto"
        file = SuggestedFile(path, default, method, "", "", "", entry.bytes, owner)
        attributes = form.file(file, default)
    element = f"{indent}# {item_in_line(attributes)}"
    said = "\n".join(comment(facts, "")) or "#"
    if len(element) + 1 + len(said) <= WIDTH and "\n" not in said:
        return [f"{element} {said}"]
    return [*comment(facts, indent), element]


def _obstacle(entry: Entry) -> str | None:
    """Why the entry can't be an element, if it can't."""
    if not is_utf8(entry.path):
        return "its name is not UTF-8"
    if entry.status is Status.DELETED:
        return "deleted here, and back after the reboot"
    if entry.kind is Kind.FILE or (_is_directory(entry) and entry.path not in SHARED):
        return None
    return f"a {entry.kind} can't be persisted" if not _is_directory(entry) else "a shared place"


def describe(entry: Entry, now: int | None) -> str:
    """`12 files, 3.4 MB, written 2 days ago`."""
    parts = []
    if _is_directory(entry):
        parts.append("1 file" if entry.files == 1 else f"{entry.files:,} files")
    parts.append(naturalsize(entry.bytes))
    if now is not None and entry.newest:
        parts.append(f"written {naturaltime(timedelta(seconds=(now - entry.newest) // 10**9))}")
    return ", ".join(parts)


def guard_lines(suggestion: Suggestion) -> list[str]:
    """Keeps closed what both modules make root:root 0755 as the parent of what they mount.

    The modules know a mode only for what they list, and a listed directory's parents are made
    before it. systemd refuses /var/lib/private with any mode but 0700, and sets the live one.
    """
    rules: dict[bytes, None] = {}
    for one in (suggestion, suggestion.cache):
        if one is None:
            continue
        paths = [*(d.path for d in one.directories), *(f.path for f in one.files)]
        for closed in (b"/root", *PRIVATE):
            if any(path.startswith(closed + b"/") for path in paths):
                rules[one.persist.rstrip(b"/") + closed] = None
                if closed == b"/root":
                    rules[closed] = None
    if not rules:
        return []
    return [
        "",
        *comment("Made as parents of the above with mode 0755, but they must stay closed.", STEP),
        f"{STEP}systemd.tmpfiles.rules = [",
        *(f"{STEP * 2}{string(_tmpfiles_rule(path))}" for path in rules),
        f"{STEP}];",
    ]


def _tmpfiles_rule(path: bytes) -> bytes:
    return b"d " + bytes(_tmpfiles_escaped(path)) + b" 0700 root root -"


def _tmpfiles_escaped(path: bytes) -> Iterator[int]:
    for byte in path:
        if byte == ord("%"):
            yield from b"%%"
        elif 0x21 <= byte < 0x7F and byte not in b"\\\"'":
            yield byte
        else:
            yield from b"\\x%02x" % byte
