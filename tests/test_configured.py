"""What --config declares: a .nix file, a flake, and what can't be told."""

from __future__ import annotations

import os

import pytest

from drift.configured import Configured, read_configured
from drift.errors import DriftError, UsageError
from drift.model import Kind
from drift.system.declared import Claim

D, F = Kind.DIRECTORY, Kind.FILE


def test_a_file_declares_paths_of_the_system_and_of_homes(tmp_path):
    file = tmp_path / "persist.nix"
    file.write_text(
        """{
  environment.persistence."/persist" = {
    directories = [ "/var/lib/a" { directory = "/var/lib/b"; mode = "0700"; } ];
    files = [ "/etc/machine-id" ] ++ extra;
    users.alice = { directories = [ ".ssh" ]; files = [ ".config/x y" ]; };
    users.nobody-known.files = [ ".z" ];
  };
  environment.persistence."/cache".directories = [ "/var/cache/c" ];
}
"""
    )
    name = os.fsencode(file)
    found = read_configured([name], {"alice": b"/people/alice"})
    assert {(claim.path, claim.source, claim.kind) for claim in found.claims} == {
        (b"/var/lib/a", b"/persist/var/lib/a", D),
        (b"/var/lib/b", b"/persist/var/lib/b", D),
        (b"/etc/machine-id", b"/persist/etc/machine-id", F),
        (b"/people/alice/.ssh", b"/persist/people/alice/.ssh", D),
        (b"/people/alice/.config/x y", b"/persist/people/alice/.config/x y", F),
        (b"/home/nobody-known/.z", b"/persist/home/nobody-known/.z", F),
        (b"/var/cache/c", b"/cache/var/cache/c", D),
    }
    assert {claim.by for claim in found.claims} == {str(file)}
    assert found.notes == (f"{file}:4: only Nix can tell what this declares: extra",)


def test_a_flake_is_asked_with_its_host():
    claim = Claim(b"/var/lib/a", b"/persist/var/lib/a", D, "flake .#host")
    asked = []

    def flake(reference):
        asked.append(reference)
        return [claim], ["said"]

    assert read_configured([b".#host"], {}, flake) == Configured((claim,), ("said",))
    assert asked == [".#host"]


def test_a_file_with_a_number_sign_in_its_name_is_a_file(tmp_path):
    file = tmp_path / "a#b.nix"
    file.write_text("{ }")
    assert read_configured([os.fsencode(file)], {}) == Configured()


@pytest.mark.parametrize("name", ["missing.nix", "."])
def test_what_is_neither_is_wrong_usage(tmp_path, name):
    with pytest.raises(UsageError) as raised:
        read_configured([os.fsencode(tmp_path / name)], {})
    assert "FLAKE#HOST" in raised.value.hint or "#HOST" in raised.value.hint


def test_a_file_that_is_no_nix_is_a_sentence(tmp_path):
    file = tmp_path / "broken.nix"
    file.write_text("{ = ; ")
    with pytest.raises(DriftError):
        read_configured([os.fsencode(file)], {})
