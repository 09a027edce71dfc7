"""`drift guard`: hold a reboot back while it would take what matters."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import click

from drift.commands import options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from drift.model import Kind, Severity
    from drift.pipeline import Request


@click.command(
    epilog="""\b
Examples:
  sudo drift guard
  sudo drift guard --severity high --every 5
  systemd-inhibit --list
"""
)
@options.request
@click.option(
    "--severity",
    type=click.Choice(["critical", "high", "normal", "low"]),
    default="critical",
    show_default=True,
    help="Hold for what is at least as severe.",
)
@click.option(
    "--mode",
    type=click.Choice(["block", "block-weak", "delay"]),
    default="block",
    show_default=True,
    help="block-weak lets root pass and needs systemd 257; delay waits for some seconds only.",
)
@click.option(
    "--every",
    type=click.FloatRange(min=0, min_open=True),
    default=5,
    show_default=True,
    metavar="MINUTES",
    help="Look again after so long.",
)
@click.option(
    "--at-most",
    type=click.FloatRange(min=0, min_open=True),
    default=12,
    show_default=True,
    metavar="HOURS",
    help="Let go after so long, whatever is at stake.",
)
@options.quiet
def guard(
    request: Request, *, severity: str, mode: str, every: float, at_most: float, quiet: bool
) -> None:
    """Hold a reboot back for as long as it would take critical state.

    Takes a shutdown lock of logind (systemd-inhibit) that says what would be lost, looks again from
    time to time, on SIGUSR1 at once, and lets go as soon as nothing is at stake; where nothing is,
    it ends. Only state that is known to be worth keeping counts, not what is for review.

    The lock ends with this process, however that ends. "systemctl reboot -i", "systemctl reboot
    --force" and a long press of the power button don't ask for it.
    """
    from drift.errors import ExitCode
    from drift.guard import reason, stand_guard
    from drift.model import Severity

    deadline = time.monotonic() + at_most * 3600
    # Blocked, it waits for the next sigtimedwait() instead of ending this process.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    incomplete = False

    def say(text: str) -> None:
        if not quiet:
            options.write([f"{text}\n"])

    def look() -> str:
        nonlocal incomplete
        found = options.scanned(request, quiet=quiet)
        incomplete = bool(found.report.skipped)
        return reason(found, Severity(severity), rule_of)

    def rule_of(path: bytes, kind: Kind) -> tuple[str, Severity] | None:
        from drift.rulebook import load, rule_sources

        book = load(rule_sources(request.rules, os.environ), os.environ)
        decision = book.decide(path, kind)
        return None if decision is None else (decision.rule.service, decision.rule.severity)

    @contextmanager
    def hold(why: str) -> Iterator[Callable[[], bool]]:
        with inhibited(why, mode) as is_held:
            say(f"A reboot has to wait: {why}.")
            yield is_held

    def wait() -> bool:
        remaining = deadline - time.monotonic()
        signal.sigtimedwait([signal.SIGUSR1], max(0, min(every * 60, remaining)))
        return time.monotonic() < deadline

    left = stand_guard(look, hold, wait)
    if left:
        say(f"A reboot has waited for {at_most:g} hours and need not wait any longer: {left}.")
        code = ExitCode.AT_STAKE
    else:
        say("A reboot need not wait.")
        code = ExitCode.INCOMPLETE if incomplete else ExitCode.DONE
    click.get_current_context().exit(code)


@contextmanager
def inhibited(why: str, mode: str) -> Iterator[Callable[[], bool]]:
    """logind's shutdown lock, as systemd-inhibit takes it for the program that it runs.

    Tells whether it is still held. DriftError where it can't be taken.
    """
    from drift.errors import DriftError
    from drift.system.programs import held

    lock = ["systemd-inhibit", "--what=shutdown", f"--mode={mode}", "--who=drift", f"--why={why}"]
    with ExitStack() as stack:
        try:
            is_held = stack.enter_context(held(lock))
        except DriftError as error:
            raise DriftError(error.message, "the guard needs logind: is it running?") from error
        yield is_held
