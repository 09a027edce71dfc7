"""Ask about what is new or changed, entry by entry, with single keys as in `git add -p`."""

from __future__ import annotations

import os
import stat
from datetime import date
from typing import TYPE_CHECKING, NamedTuple

import click

from drift.cli import complain
from drift.commands import options
from drift.commands.review_persist import Persisting
from drift.errors import DriftError
from drift.model import Kind
from drift.names import printable, shown
from drift.render import review_text
from drift.review import Change
from drift.reviewing.state import Decision, Record

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from drift.pipeline import Request, Scan
    from drift.report import Entry, Group
    from drift.review import Review
    from drift.reviewing.fingerprint import Fingerprint
    from drift.reviewing.opened import Opened

HELP = """\
p - persist: {into}
i - ignore: it may be lost; writes a rule with your reason into {rules}
s - seen: ask again only when it changes
a - seen, and so are all later entries of {service}
l - later: ask again at the next review
d - details: owner, rule, and what lies in it
q - quit; what was decided stays decided
? - help
"""

# Of a directory's entries, so many are listed.
LISTED = 20


class Wish(NamedTuple):
    """Where decisions go: `into` is a .nix file, `rules` a rule file; None where none was named."""

    into: bytes | None
    rules: bytes | None
    color: str


class ReviewRun:
    """One review at a terminal; every decision is remembered before the next question.

    `root` is a directory to read the live root from.
    """

    def __init__(
        self,
        found: Scan,
        root: bytes,
        review: Review,
        prints: Mapping[bytes, Fingerprint],
        opened: Opened,
        request: Request,
        wish: Wish,
    ) -> None:
        self.found = found
        self.root = root
        self.review = review
        self.prints = prints
        self.opened = opened
        self.request = request
        self.wish = wish
        self.now = opened.root.when
        self.width = options.line_width()
        self.done = dict.fromkeys(Decision, 0)
        self.decided: set[bytes] = set()
        self.persisting = Persisting(found, wish.into, wish.color)

    def ask(self) -> list[bytes]:
        """Ask about each entry; return the paths that are left for later."""
        paint = options.severity_painter(self.wish.color)
        entries = list(self._open_entries())
        click.echo(review_text.head(self.review, self.now))
        if entries:
            click.echo(review_text.legend(self.review))
        for place, (group, entry) in enumerate(entries, 1):
            if entry.path in self.decided:
                continue
            standing = self.review.standing(entry)
            click.echo(f"\n({place}/{len(entries)}) ", nl=False)
            click.echo(paint(review_text.subject(entry, standing, self.width), group.severity))
            click.echo(review_text.reason(entry, standing, self.now, self.width))
            if self.persisting.covers(entry.path):
                click.echo("It lies in what is persisted now.")
                self._remember([entry.path], Decision.PERSIST)
            elif not self._decide(group, entry):
                break
        left = [path for path in self.review.unreviewed if path not in self.decided]
        if not left:
            # All that is there has been looked at now, even where nothing was asked.
            self.opened.decide({}, self.prints)
        self._sum_up(left)
        return left

    def _open_entries(self) -> Iterator[tuple[Group, Entry]]:
        for group in self.review.groups:
            for entry in group.entries:
                if self.review.standing(entry).change is not Change.SAME:
                    yield group, entry

    def _decide(self, group: Group, entry: Entry) -> bool:
        """Ask until there is an answer; False where the review is to end."""
        while True:
            question = click.style("Persist this", bold=True) if self._colored else "Persist this"
            click.echo(f"{question} [p,i,s,a,l,d,q,?]? ", nl=False)
            try:
                key = click.getchar()
            except EOFError:
                key = "q"
            click.echo(printable(key) if len(key) == 1 else "")
            match key:
                case "p":
                    answered = self.persisting.persist(entry) and self._remember(
                        [entry.path], Decision.PERSIST
                    )
                case "i":
                    answered = self._ignore(entry)
                case "s":
                    answered = self._remember([entry.path], Decision.ACCEPT)
                case "a":
                    answered = self._remember(self._later(group, entry), Decision.ACCEPT)
                case "l":
                    return True
                case "q":
                    return False
                case "d":
                    answered = self._detail(entry)
                case _:
                    answered = self._help(group)
            if answered:
                return True

    @property
    def _colored(self) -> bool:
        return options.wants_color(self.wish.color)

    def _later(self, group: Group, entry: Entry) -> list[bytes]:
        """The entry and those of its service that come after it and are not decided yet."""
        paths = [one.path for other, one in self._open_entries() if other.service == group.service]
        paths = paths[paths.index(entry.path) :]
        return [path for path in dict.fromkeys(paths) if path not in self.decided]

    def _remember(
        self, paths: Collection[bytes], decision: Decision, until: str | None = None
    ) -> bool:
        records = {path: Record(decision, self.now, self.prints[path], until) for path in paths}
        self.opened.decide(records)
        self.decided.update(paths)
        self.done[decision] += len(paths)
        return True

    def _ignore(self, entry: Entry) -> bool:
        from drift.reviewing.ruling import Ignored, until, why_not_ruled, write_rule

        against = why_not_ruled(entry.path)
        if against is not None:
            click.echo(f"No rule can name just this path: {against}. s marks it as seen.")
            return False
        why = click.prompt("Reason (empty: back)", default="", show_default=False).strip()
        if not why:
            return False
        today = date.today()  # noqa: DTZ011
        while True:
            text = click.prompt(
                "Until (30d, 2w, 6m, 1y, 2027-01-31; empty: for good)",
                default="",
                show_default=False,
            )
            try:
                end = until(text, today)
                break
            except DriftError as error:
                complain(error)
        expires = None if end is None else end.isoformat()
        try:
            file = self.wish.rules or self.opened.rules_file()
            write_rule(file, Ignored(entry.path, entry.kind, why, today.isoformat(), expires))
        except DriftError as error:
            complain(error)
            return False
        click.echo(f"  a rule in {shown(file)}")
        self._warn_of_others(entry, file)
        return self._remember([entry.path], Decision.IGNORE, expires)

    def _warn_of_others(self, entry: Entry, file: bytes) -> None:
        """Say so where another rule is more specific than the one just written."""
        from drift.reviewing.rules import with_reviewed
        from drift.rulebook import load, rule_sources

        named = () if self.wish.rules is None else (os.fsdecode(self.wish.rules),)
        extra = tuple(dict.fromkeys((*self.request.rules, *named)))
        book = load(rule_sources(extra, os.environ), os.environ)
        book = with_reviewed(book, self.found.live_directory, [self.found.store])
        decision = book.decide(entry.path, entry.kind, self.found.accounts.home_directories)
        if decision is None or not decision.rule.origin.startswith(os.fsdecode(file) + ":"):
            by = "nothing" if decision is None else decision.rule.origin
            click.echo(f"  but {printable(by)} decides about it all the same", err=True)

    def _detail(self, entry: Entry) -> bool:
        from itertools import islice

        from drift.system.rooted import Rooted

        below = []
        if entry.kind in (Kind.DIRECTORY, Kind.SUBVOLUME):
            files = (
                (path, status.st_size, status.st_mtime_ns)
                for path, status in Rooted(self.root).walk(entry.path)
                if not stat.S_ISDIR(status.st_mode)
            )
            below = list(islice(files, LISTED + 1))
        click.echo(
            review_text.details(
                entry,
                self.found.accounts,
                below[:LISTED],
                self.now,
                self.width,
                more=len(below) > LISTED,
            )
        )
        return False

    def _help(self, group: Group) -> bool:
        into, rules = self.wish.into, self.wish.rules
        text = HELP.format(
            into="remembers it, and prints at the end the lines for your .nix file"
            if into is None
            else f"adds it to {shown(into)}",
            rules="persistent storage" if rules is None else shown(rules),
            service=printable(group.service),
        )
        click.echo(text, nl=False)
        return False

    def _sum_up(self, left: Collection[bytes]) -> None:
        words = {
            Decision.PERSIST: "to persist",
            Decision.IGNORE: "ignored",
            Decision.ACCEPT: "seen",
        }
        said = [f"{count} {words[decision]}" for decision, count in self.done.items() if count]
        said += [f"{len(left)} left for later"] * bool(left)
        if said:
            click.echo(f"\n{', '.join(said)}.")
        records = self.opened.state.records
        self.persisting.sum_up(
            [
                path
                for path in sorted(self.prints)
                if path in records and records[path].decision is Decision.PERSIST
            ]
        )
