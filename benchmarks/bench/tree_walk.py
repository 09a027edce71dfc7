"""The comparison that people write in Python: os.walk over both trees, lstat on everything.

python tree_walk.py BLANK LIVE
"""

import os
import stat
import sys


def read(root: str) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    for directory, directories, files in os.walk(root):
        for name in directories + files:
            path = os.path.join(directory, name)
            entry = os.lstat(path)
            kind = stat.S_IFMT(entry.st_mode)
            seen: tuple[object, ...] = (entry.st_mode, entry.st_uid, entry.st_gid)
            if kind == stat.S_IFLNK:
                seen += (os.readlink(path),)
            elif kind == stat.S_IFREG:
                seen += (entry.st_size, entry.st_mtime_ns)
            found[path[len(root) :]] = seen
    return found


def main() -> None:
    blank, live = read(sys.argv[1]), read(sys.argv[2])
    lines = [f"A\t{path}" for path in live.keys() - blank.keys()]
    lines += [f"D\t{path}" for path in blank.keys() - live.keys()]
    lines += [f"M\t{path}" for path in live.keys() & blank.keys() if live[path] != blank[path]]
    sys.stdout.write("".join(f"{line}\n" for line in sorted(lines)))


if __name__ == "__main__":
    main()
