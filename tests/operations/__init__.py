"""What can happen to a tree: each operation is a small function, `registry` knows them all."""

from operations import content, extents, links, names, properties, subvolumes
from operations.registry import OPERATIONS, choose

__all__ = [
    "OPERATIONS",
    "choose",
    "content",
    "extents",
    "links",
    "names",
    "properties",
    "subvolumes",
]
