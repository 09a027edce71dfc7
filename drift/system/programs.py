"""Run other programs: the one door to subprocess."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from drift.errors import DriftError, UsageError
from drift.names import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pwd import struct_passwd
    from subprocess import Popen

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


def run_in_foreground(
    argv: Sequence[str], *, user: struct_passwd | None = None, stdout: int | None = None
) -> int:
    """Run `argv` on this process's terminal, and return its exit code, or minus its signal.

    `user` is whom it runs as, in that user's own environment; `stdout` is a descriptor in place
    of this process's. What the keyboard sends is the program's to act on; SIGTERM and SIGHUP are
    passed on to it. UsageError where there is no such program.
    """
    import subprocess

    name = printable(argv[0])
    with _signals_passed_on() as pass_on_to:
        try:
            process = subprocess.Popen(
                argv,
                stdout=stdout,
                env=os.environ if user is None else _environment_of(user),
                user=None if user is None else user.pw_uid,
                group=None if user is None else user.pw_gid,
                extra_groups=None if user is None else os.getgrouplist(user.pw_name, user.pw_gid),
            )
        except FileNotFoundError as error:
            raise UsageError(f"there is no program {name}", "is its name right?") from error
        except OSError as error:
            raise UsageError(f"{name} could not be started: {error.strerror}") from error
        pass_on_to(process)
        return process.wait()


@contextmanager
def _signals_passed_on() -> Iterator[Callable[[Popen[bytes]], None]]:
    """Leave the keyboard's signals to a program, and pass others on: also what came before it ran."""
    import signal

    running: list[Popen[bytes]] = []
    early: list[int] = []

    def leave(_number: int, _frame: object) -> None:
        # The terminal has sent it to the program as well.
        return

    def pass_on(number: int, _frame: object) -> None:
        if not running:
            early.append(number)
        for process in running:
            with suppress(ProcessLookupError):
                process.send_signal(number)

    def pass_on_to(process: Popen[bytes]) -> None:
        running.append(process)
        for number in early:
            pass_on(number, None)

    # Handlers, for what is ignored here would be ignored by the program as well.
    handlers = {
        signal.SIGINT: leave,
        signal.SIGQUIT: leave,
        signal.SIGTERM: pass_on,
        signal.SIGHUP: pass_on,
    }
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield pass_on_to
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _environment_of(user: struct_passwd) -> dict[str, str]:
    """This environment with the user's own home and session, without what speaks of another's."""
    kept = {
        name: text for name, text in os.environ.items() if not name.startswith(("SUDO_", "XDG_"))
    }
    kept |= {
        "HOME": user.pw_dir,
        "LOGNAME": user.pw_name,
        "SHELL": user.pw_shell,
        "USER": user.pw_name,
    }
    runtime = f"/run/user/{user.pw_uid}"
    if os.path.isdir(runtime):
        kept["XDG_RUNTIME_DIR"] = runtime
        if os.path.exists(f"{runtime}/bus"):
            kept.setdefault("DBUS_SESSION_BUS_ADDRESS", f"unix:path={runtime}/bus")
    return kept


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
