"""One thin module per command: options, call, echo, exit code."""
