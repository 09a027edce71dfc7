"""Have a real Nix parse and evaluate what drift writes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

CHECK = Path(__file__).parent / "nix" / "check.nix"


def nix(arguments, text):
    """Run nix-instantiate on `text`, raw bytes; its error is the test's."""
    done = subprocess.run(
        ["nix-instantiate", *arguments, "-"], input=text, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout


def parse(text):
    return nix(["--parse"], text)


def evaluate(text):
    """The value of an expression; bytes that are not UTF-8 come back as lone surrogates."""
    printed = nix(["--eval", "--strict", "--json"], text)
    # Nix writes DEL and the like raw, and bytes of strings as they are.
    return json.loads(printed.decode(errors="surrogateescape"), strict=False)


def check_module(text, homes=None):
    """What the modules would do with a complete NixOS module; a fault in it fails the test."""
    homes = {"alice": {"home": "/home/alice", "group": "users"}} if homes is None else homes
    module = text.encode(errors="surrogateescape")
    expression = b"import %s { module = %s; homes = builtins.fromJSON ''%s''; }" % (
        bytes(CHECK),
        b"(" + module + b")",
        json.dumps(homes).encode(),
    )
    return evaluate(expression)
