"""Write a corpus: what tree searches of a real filesystem answer (as root), and the shipped rules.

python tests/fuzz/record.py ITEMS RULES
"""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent)]

import hostile  # noqa: E402
from btrfs_lab import Lab, missing  # noqa: E402

from drift.btrfs import trees  # noqa: E402
from drift.btrfs.ioctl import HEADER, HEADER_SIZE, Search  # noqa: E402
from drift.btrfs.items import LAST_FREE_OBJECTID  # noqa: E402
from drift.btrfs.subvolumes import subvolume_id  # noqa: E402

LARGEST = 3500


def fill(top: bytes) -> None:
    """A small tree with an item of every kind."""
    os.makedirs(top + b"/d/e")
    for number in range(3):
        Path(os.fsdecode(top), f"f{number}").write_bytes(b"x" * (1 + 5000 * number))
    os.symlink(b"/nix/store/x", top + b"/d/link")
    os.link(top + b"/f0", top + b"/d/f0")
    os.link(top + b"/f0", top + b"/f0-again")
    os.mkfifo(top + b"/fifo")
    os.setxattr(top + b"/f1", b"user.bwyd0ke", b"1")
    os.setxattr(top + b"/f1", b"user.6ld1x2u", b"2")
    for name in (b"bwyd0ke", b"6ld1x2u"):
        os.mkdir(top + b"/" + name)


def change(top: bytes) -> None:
    os.rename(top + b"/f2", top + b"/d/moved")
    os.unlink(top + b"/fifo")
    os.chmod(top + b"/d/e", 0o700)
    Path(os.fsdecode(top), "d/e/new").write_bytes(b"new")
    Path(os.fsdecode(top), "f0").write_bytes(b"other")
    for number in range(5):
        os.makedirs(top + b"/made/%d" % number)
        Path(os.fsdecode(top), f"made/{number}/file").write_bytes(b"")


def items_of(fd: int, name: bytes, tree: int) -> list[hostile.Item]:
    number = subvolume_id(name)
    assert number is not None
    first, last = (256, 0, 0), (LAST_FREE_OBJECTID, 255, 2**64 - 1)
    return [
        hostile.Item(tree, *item)
        for item in trees.read_items(Search(fd), number, first, last)
        if item[0] < 60_000
    ]


def answers(items: list[hostile.Item]) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    count, data = 0, b""
    for item in items:
        more = HEADER.pack(9, item.objectid, item.offset, item.kind, len(item.payload))
        data += more + item.payload
        count += 1
        if len(data) > LARGEST - 2 * HEADER_SIZE:
            found.append((count, data))
            count, data = 0, b""
    return [*found, (count, data)]


def record_items(corpus: Path) -> None:
    with Lab() as lab:
        fill(lab.create("blank"))
        lab.snapshot("blank", "live")
        change(lab.path("live"))
        lab.create("live/d/nested")
        fill(lab.path("live/d/nested"))
        lab.sync()
        fd = os.open(lab.top, os.O_RDONLY)
        try:
            live = items_of(fd, lab.path("live"), hostile.LIVE)
            blank = items_of(fd, lab.path("blank"), hostile.BLANK)
            nested = items_of(fd, lab.path("live/d/nested"), hostile.NESTED)
        finally:
            os.close(fd)
    everything = hostile.items_to([*live, *blank, *nested])
    for kind in "tmgw":
        (corpus / f"real-{kind}").write_bytes(kind.encode() + everything)
    for number, answer in enumerate(answers(live)):
        (corpus / f"answer-{number}").write_bytes(b"r" + hostile.answers_to([answer]))
    (corpus / "answers").write_bytes(b"r" + hostile.answers_to(answers(live)))


def main(items: Path, rules: Path) -> None:
    for corpus in (items, rules):
        corpus.mkdir(parents=True, exist_ok=True)
    for file in (HERE.parent.parent / "rules").glob("*.toml"):
        (rules / file.name).write_bytes(file.read_bytes())
    if why := missing():
        sys.stderr.write(f"no corpus of a real filesystem: {why}\n")
        return
    record_items(items)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
