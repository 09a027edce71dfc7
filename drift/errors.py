"""Errors as sentences for the user, with the exit codes of the interface."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    DONE = 0
    AT_STAKE = 1
    USAGE = 2
    CANNOT_RUN = 3
    INCOMPLETE = 4


class DriftError(Exception):
    """What happened, to which thing; `hint` says what to do."""

    exit_code = ExitCode.CANNOT_RUN

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(DriftError):
    """The command was called in a way that can't be meant."""

    exit_code = ExitCode.USAGE
