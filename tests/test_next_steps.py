"""The next steps, true for the machine they are printed on."""

from __future__ import annotations

import re

from suggest_lab import entry, file, suggestion

from drift.model import Severity
from drift.render.next_steps import next_steps
from drift.situation import Situation

MADE = suggestion(
    entry(b"/var/lib/bluetooth"),
    file(b"/etc/machine-id"),
    file(b"/etc/ssh/ssh_host_rsa_key", mode=0o600),
)
USUAL = Situation(
    running=True,
    blocking=(b"/etc/machine-id", b"/etc/ssh/ssh_host_rsa_key"),
    saved=(),
    unsaved=(),
    unmounted=(),
    unused=(),
)


def steps(situation, made=MADE):
    """One line a step."""
    _, *numbered = re.split(r"\n  \d\. ", next_steps(made, situation))
    return [" ".join(step.split()) for step in numbered]


def test_as_they_are_printed():
    assert next_steps(MADE, USUAL) == (
        """\
Next:
  1. Copy the data into /persist first, with drift save: listing a path moves
     nothing, it mounts an empty directory over the data, and the reboot deletes
     it.
  2. Add the entries, then run nixos-rebuild boot and reboot. Not switch: it
     stops at files that are in the way ("A file already exists"):
     /etc/machine-id, /etc/ssh/ssh_host_rsa_key.
  3. After the reboot, drift verify says whether everything came back, findmnt
     /etc/machine-id shows where one of them comes from, and drift scan should
     not name them again."""
    )


def test_nothing_suggested_needs_no_steps():
    assert next_steps(suggestion(), USUAL) == ""


def test_without_files_in_the_way_switch_still_hides_what_is_written():
    assert steps(USUAL._replace(blocking=()))[1] == (
        "Add the entries, then run nixos-rebuild boot and reboot. Not switch: it mounts over what"
        " programs have open, and what they go on writing there is lost."
    )


def test_many_files_in_the_way_are_counted():
    many = tuple(b"/etc/%d" % number for number in range(1200))
    assert steps(USUAL._replace(blocking=many))[1].endswith(
        ": /etc/0, /etc/1, /etc/2 and 1,197 more."
    )


def test_what_the_store_has_and_what_it_lacks_is_said():
    said = steps(USUAL._replace(saved=(b"/etc/machine-id",), unsaved=(b"/srv/www",)))[0]
    assert said.endswith(
        " So do what is declared already, but not copied yet: /srv/www. There already, and what"
        " the reboot will show, newer or not: /etc/machine-id."
    )


def test_a_store_that_nothing_uses_yet_has_to_be_mounted_early():
    assert steps(USUAL._replace(unused=(b"/persist",)))[0] == (
        "Nothing is persisted in /persist yet: import the module, and have the store mounted"
        ' early, with fileSystems."/persist".neededForBoot = true.'
    )


def test_a_store_on_the_root_is_none():
    assert steps(USUAL._replace(unused=(b"/persist",), unmounted=(b"/persist",)))[0] == (
        "Nothing that outlives the root is mounted at /persist: make a subvolume for it and mount"
        ' it there early, with fileSystems."/persist".neededForBoot = true, or name another place.'
    )


def test_what_is_in_the_file_need_not_be_added():
    assert steps(USUAL._replace(added=True))[1].startswith("Run nixos-rebuild boot and reboot.")


def test_a_system_that_is_not_running_is_built_from_outside():
    assert steps(USUAL._replace(running=False))[1].startswith(
        "Add the entries to the configuration of that system, build it for the next boot"
    )
    assert steps(USUAL._replace(running=False, added=True))[1].startswith(
        "Build the configuration of that system for the next boot"
    )


def test_caches_need_not_be_copied():
    made = suggestion(
        entry(b"/var/cache/ccache", severity=Severity.LOW), entry(b"/srv/a"), cache=b"/cache"
    )
    assert steps(USUAL, made)[0].endswith(" Caches for /cache: by hand, with cp -a, or not at all.")


def test_odd_names_stay_on_their_line():
    odd = suggestion(entry(b"/var/lib/a\nb\x1b[31m\xff"))
    text = next_steps(odd, USUAL._replace(unused=(b"/per\nsist\xff",)))
    assert all(line.isprintable() for line in text.split("\n"))
