"""The rules: read, validated, compiled to one trie, and matched against paths."""

from drift.rulebook.book import DEFAULT_HOMES, Decision, RuleBook
from drift.rulebook.faults import Fault, RuleFilesError
from drift.rulebook.loading import load
from drift.rulebook.position import Position
from drift.rulebook.rule import Layer, Rule, RuleKind
from drift.rulebook.sources import rule_sources, shipped_directory

__all__ = [
    "DEFAULT_HOMES",
    "Decision",
    "Fault",
    "Layer",
    "Position",
    "Rule",
    "RuleBook",
    "RuleFilesError",
    "RuleKind",
    "load",
    "rule_sources",
    "shipped_directory",
]
