"""The rules: read, validated, compiled to one trie, and matched against paths."""
