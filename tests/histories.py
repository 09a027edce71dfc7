"""Random histories: how a live root and its blank came about, from one number.

    with Histories() as histories:
        with histories.play(4711) as scenario:
            differences(scenario.live, scenario.blank)

A seed decides the kind of filesystem, the lineage, and what was done to both subvolumes. Steps are numbered; `without` leaves steps out, and the others
still do what they did, as far as they can: that is how a failing history is made short.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Self

import btrfsutil
from btrfs_lab import Lab
from lineages import LINEAGES
from operations import OPERATIONS, choose
from scene import Scene

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator


@dataclass(frozen=True, slots=True)
class Variant:
    """A kind of filesystem: options of mkfs.btrfs and of mount."""

    name: str
    make: tuple[str, ...] = ()
    options: str = ""
    nodesize: int = 16384
    quota: bool = False


VARIANTS = (
    Variant("default"),
    Variant("4K nodes", ("--nodesize", "4096"), nodesize=4096),
    Variant("64K nodes", ("--nodesize", "65536"), nodesize=65536),
    Variant("zstd", options="compress-force=zstd"),
    Variant("nodatacow", options="nodatacow"),
    Variant("mixed block groups", ("--mixed", "--nodesize", "4096"), nodesize=4096),
    Variant("quota", options="noatime", quota=True),
    Variant("holes as extents", ("-O", "^no-holes"), options="max_inline=0"),
)


@dataclass(slots=True)
class Scenario:
    """Two subvolumes to compare (`blank` None: there is none) and how they came about."""

    seed: int
    variant: str
    lineage: str
    live: bytes
    blank: bytes | None
    live_name: bytes
    blank_name: bytes | None
    description: list[str]
    steps: int


@dataclass(slots=True)
class History:
    """A history while it is played: subvolumes are named relative to its own directory."""

    seed: int
    lab: Lab
    variant: Variant
    without: Collection[int] = ()
    rng: Random = field(init=False)
    base: bytes = field(init=False)
    description: list[str] = field(default_factory=list)
    held: list[int] = field(default_factory=list)
    step: int = 0
    last_edited: bytes = b""

    def __post_init__(self) -> None:
        self.rng = Random(self.seed)
        self.base = b"history-%d" % self.seed

    def path(self, name: str) -> bytes:
        return self.lab.path(self.base + b"/" + name.encode())

    def create(self, name: str) -> None:
        self.say(f"create {name}")
        self.lab.create(self.base + b"/" + name.encode())

    def snapshot(self, source: str, name: str, *, readonly: bool = False) -> None:
        self.say(f"snapshot {source} -> {name}" + " read-only" * readonly)
        old, new = (self.base + b"/" + side.encode() for side in (source, name))
        self.lab.snapshot(old, new, readonly=readonly)

    def delete(self, name: str) -> None:
        self.say(f"delete subvolume {name}")
        self.lab.delete(self.base + b"/" + name.encode())

    def move(self, name: str, new: str) -> None:
        self.say(f"move {name} -> {new}")
        os.makedirs(os.path.dirname(self.path(new)), exist_ok=True)
        os.rename(self.path(name), self.path(new))

    def freeze(self, name: str, *, frozen: bool = True) -> None:
        self.say(f"make {name} {'read-only' if frozen else 'writable'}")
        btrfsutil.set_subvolume_read_only(self.path(name), frozen)

    def remount(self) -> None:
        """Free inode numbers are given out anew from here on."""
        self.say("remount")
        self.close()
        self.lab.remount()

    def perhaps_remount(self) -> None:
        if self.rng.random() < 0.25:
            self.remount()

    def copy(self, source: str, name: str, *, reflink: bool) -> None:
        self.say(f"cp -a {'--reflink' * reflink} {source} -> {name}")
        self._run(
            "cp",
            "-a",
            f"--reflink={'always' if reflink else 'never'}",
            self.path(source) + b"/.",
            self.path(name) + b"/",
        )

    def send(self, source: str, directory: str, *, parent: str | None = None) -> None:
        """Send a read-only subvolume and receive it, under its own name, in a directory."""
        self.say(f"send {source} (parent {parent}) -> {directory}/")
        os.makedirs(self.path(directory), exist_ok=True)
        options = [b"-p", self.path(parent)] if parent else []
        command = [b"btrfs", b"send", b"-q", *options, self.path(source)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as sender:
            self._run("btrfs", "receive", "-q", self.path(directory), stdin=sender.stdout)

    def populate(self, name: str) -> None:
        """Make a small tree like that of a fresh system."""
        self._let_the_clock_tick(name)
        scene = self._scene(name, Random(f"{self.seed}:{name}:start"))
        with scene.act():
            _populate(scene)

    def edit(self, name: str, steps: int | None = None) -> None:
        """Let random things happen to a subvolume."""
        self._let_the_clock_tick(name)
        if steps is None:
            steps = self.rng.choice((5, 10, 20, 40)) if self.rng.random() < 0.9 else 60
        for _ in range(steps):
            self.step += 1
            if self.step not in self.without:
                self._do(name, Random(f"{self.seed}:{self.step}"))

    def close(self) -> None:
        while self.held:
            os.close(self.held.pop())

    def _do(self, name: str, rng: Random) -> None:
        scene = self._scene(name, rng)
        operation = choose(rng)
        result = ""
        with scene.act():
            try:
                OPERATIONS[operation](scene)
            except (OSError, shutil.Error) as error:
                result = f" -- {type(error).__name__} {getattr(error, 'errno', None) or ''}"
        picked = " ".join(repr(path if len(path) < 60 else path[:57] + b"..") for path in scene.log)
        self.say(f"{self.step:3} {name}: {operation} {picked}{result}")

    def _scene(self, name: str, rng: Random) -> Scene:
        return Scene(self.path(name), rng, self.held, self.variant.nodesize)

    def _let_the_clock_tick(self, name: str) -> None:
        """Give files that two subvolumes make on their own different times of birth.

        An inode of the same number, generation and time of birth is the same file to the oracle;
        the kernel's clock ticks every few milliseconds.
        """
        if self.last_edited != name.encode():
            time.sleep(1.5 * time.clock_getres(5))  # CLOCK_REALTIME_COARSE of linux/time.h
        self.last_edited = name.encode()

    def say(self, what: str) -> None:
        self.description.append(what)

    def _run(self, *command: str | bytes, stdin: object = None) -> None:
        """Run a program; what it could not do is part of the history."""
        done = subprocess.run(command, stdin=stdin, capture_output=True, check=False)  # type: ignore[call-overload]
        if done.returncode:
            self.say(f"    exit code {done.returncode}: {done.stderr[:120]!r}")


class Histories:
    """Plays histories; one filesystem of each variant serves all of them."""

    def __init__(self) -> None:
        self._labs: dict[str, Lab] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextmanager
    def play(self, seed: int, without: Collection[int] = ()) -> Iterator[Scenario]:
        variant = variant_of(seed)
        if variant.name not in self._labs:
            lab = self._stack.enter_context(Lab(*variant.make, options=variant.options))
            if variant.quota:
                lab.btrfs("quota", "enable", lab.top)
            self._labs[variant.name] = lab
        lab = self._labs[variant.name]
        try:
            with run(seed, lab, without) as scenario:
                yield scenario
        except BaseException:
            # Whatever it left behind must not disturb the next history.
            del self._labs[variant.name]
            with suppress(RuntimeError, OSError):
                lab.__exit__()
            raise


def variant_of(seed: int) -> Variant:
    return VARIANTS[seed % len(VARIANTS)]


def lineage_of(seed: int) -> str:
    """Return the lineage of a seed: every variant meets every lineage in turn."""
    names = list(LINEAGES)
    turn, variant = divmod(seed, len(VARIANTS))
    return names[(turn + 4 * variant) % len(names)]


@contextmanager
def run(seed: int, lab: Lab, without: Collection[int] = ()) -> Iterator[Scenario]:
    """Play the history of a seed in a filesystem; what it made is deleted at the end."""
    history = History(seed, lab, variant_of(seed), without)
    os.mkdir(lab.path(history.base))
    lineage = lineage_of(seed)
    try:
        live, blank = LINEAGES[lineage](history)
        yield Scenario(
            seed,
            history.variant.name,
            lineage,
            history.path(live),
            None if blank is None else history.path(blank),
            history.base + b"/" + live.encode(),
            None if blank is None else history.base + b"/" + blank.encode(),
            history.description,
            history.step,
        )
    finally:
        history.close()
        for name in lab.subvolumes():
            # One that was nested in another is gone already.
            if name.startswith(history.base + b"/") and os.path.exists(lab.path(name)):
                lab.delete(name)
        shutil.rmtree(lab.path(history.base))


def _populate(scene: Scene) -> None:
    """A dozen directories, and files of every type and of sizes that are stored differently."""
    directories = (b"", b"/etc", b"/etc/ssh", b"/var", b"/var/lib", b"/var/lib/nixos", b"/home")
    for directory in directories[1:]:
        os.mkdir(scene.at(directory))
    for number in range(scene.rng.randrange(12, 24)):
        directory = scene.rng.choice(directories)
        path = directory + b"/%d-%s" % (number, scene.rng.choice((b"state", b"conf", b"key")))
        scene.write(path, scene.content())
    if scene.rng.random() < 0.3:
        _add_bulk(scene)
    scene.write(b"/zeros", bytes(20_000))
    sparse = scene.open(b"/sparse", os.O_RDWR | os.O_CREAT)
    os.pwrite(sparse, b"end", 100_000)
    os.symlink(b"/etc/static/hosts", scene.at(b"/etc/hosts"))
    os.symlink(b"gone", scene.at(b"/dangling"))
    os.link(scene.at(b"/zeros"), scene.at(b"/etc/zeros"))
    os.mkfifo(scene.at(b"/var/fifo"))
    os.mknod(scene.at(b"/var/null"), 0o020600, os.makedev(1, 3))
    os.mknod(scene.at(b"/var/disk"), 0o060660, os.makedev(8, 1))
    os.setxattr(scene.at(b"/zeros"), b"user.note", b"start")
    os.setxattr(scene.at(b"/var"), b"user.note", b"directory")
    for nested in (b"/srv", b"/var/lib/machines"):
        if scene.rng.random() < 0.5:
            btrfsutil.create_subvolume(scene.at(nested))
            scene.write(nested + b"/inner", scene.content())


def _add_bulk(scene: Scene) -> None:
    """Add so many entries that the tree has leaves which later changes leave alone."""
    for number in range(10):
        directory = b"/var/lib/bulk-%d" % number
        os.mkdir(scene.at(directory))
        for entry in range(30):
            scene.write(directory + b"/entry-%d" % entry, bytes(scene.rng.randrange(3)))
