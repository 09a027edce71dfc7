"""Owners and modes that shipped rules give, held against what the NixOS modules set."""

import tomllib
from functools import lru_cache
from pathlib import Path

import pytest

from drift.model import Kind, Verdict
from drift.rulebook import Layer, load, shipped_directory

FACTS = tomllib.loads((Path(__file__).parent / "data/module-facts.toml").read_text())
MADE = FACTS["made"]
PRIVATE = FACTS["private"]

USUAL_MODE = 0o755


@lru_cache
def book():
    return load([(Layer.SHIPPED, shipped_directory())])


def rule_for(directory):
    """The rule of exactly this directory, not of one above."""
    decision = book().decide(directory.encode(), Kind.DIRECTORY)
    assert decision is not None
    assert decision.anchor == directory.encode(), decision.rule.origin
    return decision.rule


def test_the_facts_cover_what_people_run_most():
    assert len({fact["module"] for fact in MADE + PRIVATE}) >= 120


@pytest.mark.parametrize("fact", MADE, ids=lambda fact: fact["directory"])
def test_owner_and_mode_are_those_of_the_module(fact):
    rule = rule_for(fact["directory"])
    mode = fact.get("mode")
    expected = (fact["user"], fact["group"], int(mode, 8) if mode else rule.mode)
    given = USUAL_MODE if rule.mode is None and mode else rule.mode
    assert (rule.user or "root", rule.group or "root", given) == expected, rule.origin


@pytest.mark.parametrize("fact", PRIVATE, ids=lambda fact: fact["name"])
def test_a_dynamic_user_owns_nothing_by_name(fact):
    directory = f"/var/lib/private/{fact['name']}"
    rule = rule_for(directory)
    given = USUAL_MODE if rule.mode is None else rule.mode
    assert (rule.verdict, rule.user, rule.group, given) == (
        Verdict.PERSIST,
        None,
        None,
        int(fact["mode"], 8),
    ), rule.origin


@pytest.mark.parametrize("fact", PRIVATE, ids=lambda fact: fact["name"])
def test_the_link_to_a_private_directory_is_explained(fact):
    decision = book().decide(f"/var/lib/{fact['name']}".encode(), Kind.SYMLINK)
    rule = decision.rule
    assert rule.verdict is Verdict.PERSIST
    assert f"/var/lib/private/{fact['name']}" in (rule.advice or ""), rule.origin
