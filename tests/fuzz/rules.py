"""Feed the rule loader with bytes that a fuzzer makes up; only sentences about faults may come out.

    python tests/fuzz/rules.py CORPUS [libFuzzer's options]

Needs the package atheris; `make fuzz` installs it and takes the shipped rules as the corpus.
"""

import os
import sys

import atheris

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.dirname(HERE), os.path.dirname(os.path.dirname(HERE))]

with atheris.instrument_imports(include=["drift"]):
    import hostile_rules


if __name__ == "__main__":
    atheris.Setup(sys.argv, hostile_rules.try_bytes)
    atheris.Fuzz()
