"""Run other programs: the one door to subprocess."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from drift.errors import DriftError
from drift.names import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

# A user's PATH, and root's under `su`, may lack where losetup and mkfs.btrfs are.
SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")

# The package that holds a program, where its name is another one.
PACKAGES = {
    "btrfs": "btrfs-progs",
    "losetup": "util-linux",
    "mkfs.btrfs": "btrfs-progs",
    "mount": "util-linux",
    "nix-instantiate": "nix",
    "systemd-inhibit": "systemd",
    "umount": "util-linux",
}


class Completed(NamedTuple):
    returncode: int
    stdout: bytes
    stderr: bytes


def run(
    argv: Sequence[str | bytes],
    *,
    input: bytes | None = None,  # noqa: A002 - named as subprocess names it
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> Completed:
    """Run `argv` without a shell, in the C locale, and return what it said.

    `env` is added to this process's environment. The program reads `input`, or nothing: never
    the terminal. A non-zero exit is no error here; a program that is missing, can't be started
    or outlives `timeout` seconds (it is then killed) is a DriftError.
    """
    # Imported here: it costs as much as the rest of a short command.
    import subprocess

    name = os.path.basename(os.fsdecode(argv[0]))
    try:
        done = subprocess.run(
            argv,
            check=False,
            capture_output=True,
            env=_environment(env),
            timeout=timeout,
            stdin=subprocess.DEVNULL if input is None else None,
            input=input,
        )
    except subprocess.TimeoutExpired as error:
        raise DriftError(f"{name} did not finish within {error.timeout:g} seconds") from error
    except OSError as error:
        raise _not_started(name, error) from error
    return Completed(done.returncode, done.stdout, done.stderr)


def check(
    argv: Sequence[str | bytes],
    *,
    input: bytes | None = None,  # noqa: A002 - as above
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> bytes:
    """The standard output of `argv`; DriftError with its first line of complaint if it fails."""
    done = run(argv, input=input, env=env, timeout=timeout)
    if done.returncode == 0:
        return done.stdout
    name = os.path.basename(os.fsdecode(argv[0]))
    raise DriftError(f"{name} failed: {_complaint(done).removeprefix(f'{name}: ')}")


@contextmanager
def held(argv: Sequence[str]) -> Iterator[Callable[[], bool]]:
    """Have `argv` run another program, as systemd-inhibit does, for as long as the context lasts.

    That program is `cat`: it runs when this is entered, and its input ends with the context, and
    with this process, however that ends. Tells whether it still runs. DriftError where it can't
    be run, with the first line of complaint.
    """
    import subprocess

    name = os.path.basename(argv[0])
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(
            [*argv, "cat"], stdin=pipe, stdout=pipe, stderr=pipe, env=_environment(None)
        )
    except OSError as error:
        raise _not_started(name, error) from error
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    with process:
        # What comes back has gone through the program that runs inside.
        with suppress(BrokenPipeError):
            process.stdin.write(b"\n")
            process.stdin.flush()
        if process.stdout.read(1) != b"\n":
            said = process.stderr.read()
            with suppress(BrokenPipeError):
                process.stdin.close()
            done = Completed(process.wait(), b"", said)
            raise DriftError(f"{name} failed: {_complaint(done).removeprefix(f'{name}: ')}")
        try:
            yield lambda: process.poll() is None
        finally:
            with suppress(BrokenPipeError):
                process.stdin.close()


def _not_started(name: str, error: OSError) -> DriftError:
    if isinstance(error, FileNotFoundError):
        return DriftError(f"{name} is not installed", f"install {PACKAGES.get(name, name)}")
    return DriftError(f"{name} could not be started: {error.strerror}")


def _environment(added: Mapping[str, str] | None) -> dict[str, str]:
    path = os.environ.get("PATH", os.defpath).split(os.pathsep)
    path += [directory for directory in SBIN if directory not in path]
    return {**os.environ, "PATH": os.pathsep.join(path), "LC_ALL": "C", **(added or {})}


def _complaint(done: Completed) -> str:
    for line in done.stderr.decode("utf-8", "surrogateescape").splitlines():
        if line.strip():
            return printable(line.strip())
    if done.returncode < 0:
        return f"killed by signal {-done.returncode}"
    return f"exit code {done.returncode}"
