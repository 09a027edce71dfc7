"""Feed the reading of Btrfs trees with bytes that a fuzzer makes up; only DriftError may come out.

    python tests/fuzz/items.py CORPUS [libFuzzer's options]

Needs the package atheris; `make fuzz` installs it and records a real filesystem as the corpus.
"""

import os
import random
import sys
from contextlib import suppress

import atheris

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.dirname(HERE), os.path.dirname(os.path.dirname(HERE))]

with atheris.instrument_imports(include=["drift"]):
    import hostile

    from drift.btrfs.items import DIR_INDEX, INODE_ITEM
    from drift.errors import DriftError


def run(data: bytes) -> None:
    with suppress(DriftError):
        hostile.try_bytes(data)


def mutate(data: bytes, most: int, seed: int) -> bytes:
    """Change bytes as libFuzzer does, or trees item by item, so that they stay trees."""
    chance = random.Random(seed)
    if data[:1] in (b"", b"r") or chance.random() < 0.2:
        return bytes(atheris.Mutate(data, most))
    items = hostile.items_from(data[1:])
    for _ in range(chance.randrange(1, 4)):
        if items:
            _change_one(items, chance)
    kind = chance.choice(b"tmgw") if chance.random() < 0.1 else data[0]
    changed = bytes([kind]) + hostile.items_to(items)
    return changed if len(changed) <= most else data


def _change_one(items: list[hostile.Item], chance: random.Random) -> None:
    at = chance.randrange(len(items))
    item, other = items[at], chance.choice(items)
    match chance.randrange(8):
        case 0:
            del items[at]
        case 1:
            items.append(item._replace(tree=other.tree))
        case 2:
            items[at] = item._replace(objectid=other.objectid)
        case 3:
            items[at] = item._replace(kind=other.kind)
        case 4:
            items[at] = item._replace(offset=chance.choice((other.offset, other.objectid, 0)))
        case 5:
            items[at] = item._replace(payload=other.payload)
        case 6 if item.kind in (DIR_INDEX, INODE_ITEM):
            # A name that leads to another inode, an inode of another generation.
            value = other.objectid if item.kind == DIR_INDEX else chance.choice((1, 99, 150))
            items[at] = item._replace(payload=value.to_bytes(8, "little") + item.payload[8:])
        case _:
            changed = bytes(atheris.Mutate(item.payload, len(item.payload) + 40))
            items[at] = item._replace(payload=changed)


if __name__ == "__main__":
    atheris.Setup(sys.argv, run, custom_mutator=mutate)
    atheris.Fuzz()
