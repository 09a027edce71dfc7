"""What drift writes as Nix: whole texts, and what a real Nix makes of them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nix_lab import check_module, evaluate, parse
from suggest_lab import DAY, NOW, entry, file, suggestion

from drift.model import Kind, Severity, Verdict
from drift.render.nix import render_lists, render_module
from drift.render.nix_text import attribute_name, comment, string
from drift.render.preservation import render_preservation

ALICE = {"uid": 1000, "gid": 100}
DIRECTORIES = {
    b"/var/lib/private/blocky": (61500, 61500, 0o755),
    b"/var/lib/foo": (999, 999, 0o750),
    b"/home/alice/.config/foo": (1000, 100, 0o700),
}
WHOLE = suggestion(
    file(
        b"/etc/ssh/ssh_host_ed25519_key",
        service="openssh",
        title="SSH server",
        severity=Severity.CRITICAL,
        why="the host key, by which clients know this machine",
        mode=0o600,
    ),
    file(
        b"/etc/ssh/ssh_host_ed25519_key.pub",
        service="openssh",
        title="SSH server",
        severity=Severity.CRITICAL,
        why="the host key, by which clients know this machine",
    ),
    file(b"/etc/machine-id", service="systemd", title="systemd", why="the machine's identity"),
    file(b"/var/lib/foo/token", service="foo", title="Foo", why="its token", mode=0o600),
    entry(
        b"/var/lib/colord",
        service="colord",
        title="Colour profiles",
        why="profiles that were imported",
        uid=999,
        gid=999,
        mode=0o750,
    ),
    entry(b"/var/lib/blocky", Kind.SYMLINK, service="blocky", title="Blocky", why="its lists"),
    entry(b"/var/lib/nixos", service="nixos", title="NixOS", why="which name has which id"),
    entry(
        b"/home/alice/.ssh",
        service="ssh",
        title="SSH",
        why="keys and known hosts",
        mode=0o700,
        **ALICE,
    ),
    file(
        b"/home/alice/.zsh_history",
        service="zsh",
        title="zsh",
        why="the history of commands",
        mode=0o600,
        rule={"replaced": True, "method": "symlink"},
        **ALICE,
    ),
    file(b"/home/alice/.config/foo/rc", service="foo", title="Foo", why="its settings", **ALICE),
    entry(b"/var/lib/mystery", verdict=Verdict.REVIEW, files=12, bytes=3_400_000),
    entry(
        b"/var/lib/a-directory-with-a-name-so-long-that-its-reason-needs-a-line-of-its-own",
        verdict=Verdict.REVIEW,
        uid=999,
        gid=999,
        mode=0o700,
    ),
    file(b"/home/alice/notes.txt", verdict=Verdict.REVIEW, newest=NOW - 40 * DAY, **ALICE),
    entry(b"/etc/odd", Kind.SYMLINK, Verdict.REVIEW),
    directories=DIRECTORIES,
)

MODULE = """\
{ ... }:
{
  environment.persistence."/persist" = {
    directories = [
      # Blocky: its lists
      "/var/lib/private/blocky"

      # Colour profiles: profiles that were imported
      {
        directory = "/var/lib/colord";
        user = "colord";
        group = "colord";
        mode = "0750";
      }

      # NixOS: which name has which id
      "/var/lib/nixos"

      # Not recognised: uncomment what should stay.
      # not recognised: 1 file, 1.0 kB, written 2 days ago
      # { directory = "/var/lib/a-directory-with-a-name-so-long-that-its-reason-needs-a-line-of-its-own"; user = "colord"; group = "colord"; mode = "0700"; }
      # "/var/lib/mystery" # not recognised: 12 files, 3.4 MB, written 2 days ago
    ];
    files = [
      # SSH server: the host key, by which clients know this machine
      "/etc/ssh/ssh_host_ed25519_key"
      "/etc/ssh/ssh_host_ed25519_key.pub"

      # Foo: its token
      {
        file = "/var/lib/foo/token";
        parentDirectory = {
          user = "colord";
          group = "colord";
          mode = "0750";
        };
      }

      # systemd: the machine's identity
      "/etc/machine-id"

      # Not recognised: uncomment what should stay.
      # /etc/odd: not recognised: 1.0 kB, written 2 days ago; a symlink can't be persisted
    ];
    users.alice = {
      directories = [
        # SSH: keys and known hosts
        {
          directory = ".ssh";
          mode = "0700";
        }
      ];
      files = [
        # Foo: its settings
        {
          file = ".config/foo/rc";
          parentDirectory = {
            mode = "0700";
          };
        }

        # zsh: the history of commands
        {
          file = ".zsh_history";
          method = "symlink";
        }

        # Not recognised: uncomment what should stay.
        # "notes.txt" # not recognised: 1.0 kB, written a month ago
      ];
    };
  };

  # Made as parents of the above with mode 0755, but they must stay closed.
  systemd.tmpfiles.rules = [
    "d /persist/var/lib/private 0700 root root -"
  ];
}
"""

PRESERVATION = """\
{ ... }:
{
  preservation = {
    enable = true;
    preserveAt."/persist" = {
      directories = [
        # Colour profiles: profiles that were imported
        {
          directory = "/var/lib/colord";
          user = "colord";
          group = "colord";
          mode = "0750";
        }

        # NixOS: which name has which id
        {
          directory = "/var/lib/nixos";
          inInitrd = true;
        }
      ];
      files = [
        # SSH server: the host key
        {
          file = "/etc/ssh/ssh_host_ed25519_key";
          mode = "0600";
        }

        # Foo: its token
        {
          file = "/var/lib/foo/token";
          mode = "0600";
          configureParent = true;
          parent = {
            user = "colord";
            group = "colord";
            mode = "0750";
          };
        }

        # systemd: the machine's identity
        {
          file = "/etc/machine-id";
          mode = "0444";
          inInitrd = true;
        }
      ];
      users.alice = {
        files = [
          # zsh: the history of commands
          {
            file = ".zsh_history";
            how = "symlink";
          }
        ];
      };
    };
  };

  # It would fail on a machine-id that is mounted, and is not needed there.
  systemd.suppressedSystemUnits = [ "systemd-machine-id-commit.service" ];
}
"""

PRESERVED = suggestion(
    file(
        b"/etc/ssh/ssh_host_ed25519_key",
        service="openssh",
        title="SSH server",
        severity=Severity.CRITICAL,
        why="the host key",
        mode=0o600,
    ),
    file(
        b"/etc/machine-id",
        service="systemd",
        title="systemd",
        why="the machine's identity",
        mode=0o444,
    ),
    file(b"/var/lib/foo/token", service="foo", title="Foo", why="its token", mode=0o600),
    entry(
        b"/var/lib/colord",
        service="colord",
        title="Colour profiles",
        why="profiles that were imported",
        uid=999,
        gid=999,
        mode=0o750,
    ),
    entry(b"/var/lib/nixos", service="nixos", title="NixOS", why="which name has which id"),
    file(
        b"/home/alice/.zsh_history",
        service="zsh",
        title="zsh",
        why="the history of commands",
        mode=0o600,
        rule={"replaced": True, "method": "symlink"},
        **ALICE,
    ),
    directories=DIRECTORIES,
)


def test_module_as_a_whole():
    assert render_module(WHOLE, now=NOW) == MODULE


def test_lists_are_the_modules_without_what_is_around():
    inside = MODULE.splitlines(keepends=True)[3:]
    inside = inside[: inside.index("  };\n")]
    assert render_lists(WHOLE, now=NOW) == "".join(
        line[4:] if line.strip() else line for line in inside
    )


def test_preservation_as_a_whole():
    assert render_preservation(PRESERVED) == PRESERVATION


TWO_STORES = suggestion(
    entry(b"/var/lib/foo", service="foo", title="Foo", why="its data"),
    entry(
        b"/var/cache/private/foo",
        severity=Severity.LOW,
        service="foo",
        title="Foo",
        why="slow to make",
    ),
    entry(
        b"/home/alice/.cache/borg",
        severity=Severity.LOW,
        service="borg",
        title="Borg",
        why="its index",
        **ALICE,
    ),
    cache=b"/cache",
)


def test_a_second_store_has_a_block_of_its_own():
    assert (
        render_module(TWO_STORES)
        == """\
{ ... }:
{
  environment.persistence."/persist" = {
    directories = [
      # Foo: its data
      "/var/lib/foo"
    ];
  };

  environment.persistence."/cache" = {
    directories = [
      # Foo: slow to make
      "/var/cache/private/foo"
    ];
    users.alice = {
      directories = [
        # Borg: its index
        ".cache/borg"
      ];
    };
  };

  # Made as parents of the above with mode 0755, but they must stay closed.
  systemd.tmpfiles.rules = [
    "d /cache/var/cache/private 0700 root root -"
  ];
}
"""
    )


def test_the_lists_of_a_second_store_say_where_they_go():
    assert (
        render_lists(TWO_STORES)
        == """\
directories = [
  # Foo: its data
  "/var/lib/foo"
];

# These go into environment.persistence."/cache":
directories = [
  # Foo: slow to make
  "/var/cache/private/foo"
];
users.alice = {
  directories = [
    # Borg: its index
    ".cache/borg"
  ];
};
"""
    )


@pytest.mark.nix
def test_both_modules_take_two_stores():
    for text, kind in (
        (render_module(TWO_STORES), "persistence"),
        (render_preservation(TWO_STORES), "preservation"),
    ):
        stores = check_module(text)[kind]
        assert {
            store: [one["path"] for one in lists["directories"]] for store, lists in stores.items()
        } == {
            "/persist": ["/var/lib/foo"],
            "/cache": ["/var/cache/private/foo", "/home/alice/.cache/borg"],
        }


def test_nothing_to_add():
    empty = suggestion()
    assert render_lists(empty) == ""
    assert render_module(empty) == (
        '{ ... }:\n{\n  # Nothing to add.\n  environment.persistence."/persist" = { };\n}\n'
    )


def test_a_name_that_is_not_utf8_is_left_out_and_named():
    made = suggestion(entry(b"/var/lib/f\xff", service="foo"), entry(b"/var/lib/g", service="foo"))
    assert render_lists(made) == (
        "directories = [\n"
        "  # G: its state\n"
        '  "/var/lib/g"\n'
        "\n"
        "  # Left out, as its name is not UTF-8: /var/lib/f\\xff\n"
        "];\n"
    )


def test_comments_wrap_and_never_end_early():
    assert comment("why\n  }; evil = true; #\r\x1b[31m " + "word " * 20, "    ") == [
        (
            "    # why }; evil = true; # \\x1b[31m word word word word word word word word word word word"
            " word"
        ),
        "    # word word word word word word word word",
    ]


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("alice", "alice"),
        ("alice-b'c_1", "alice-b'c_1"),
        ("1alice", '"1alice"'),
        ("a.b", '"a.b"'),
        ("in", '"in"'),
        ("or", '"or"'),
        ("é", '"é"'),
        ("a${b}", '"a\\${b}"'),
    ],
)
def test_attribute_names_are_quoted_where_nix_needs_it(name, written):
    assert attribute_name(name) == written


@pytest.mark.parametrize(
    ("path", "literal"),
    [
        (b"/plain", '"/plain"'),
        (b"$", '"$"'),
        (b"${x}", '"\\${x}"'),
        (b"$${x}", '"$\\${x}"'),
        (b'a"b\\c', '"a\\"b\\\\c"'),
        (b"a\nb\tc\rd", '"a\\nb\\tc\\rd"'),
        ("é😀".encode(), '"é😀"'),
        (b"a\x1b[31mb", """"a${builtins.fromJSON ''"\\u001b"''}[31mb\""""),
        (b"$\x1b", """"\\$${builtins.fromJSON ''"\\u001b"''}\""""),
        ("\u202e".encode(), """"${builtins.fromJSON ''"\\u202e"''}\""""),
        (b"\xff", '"\udcff"'),
    ],
)
def test_string_literals(path, literal):
    assert string(path) == literal


def test_nul_is_refused():
    with pytest.raises(ValueError, match="NUL"):
        string(b"a\0b")


@pytest.mark.nix
def test_the_module_does_what_is_meant():
    done = check_module(render_module(WHOLE, now=NOW))
    root = {"user": "root", "group": "root", "mode": "0755"}
    alice = {"user": "alice", "group": "users", "mode": "0755"}
    assert done == {
        "persistence": {
            "/persist": {
                "directories": [
                    {"path": "/var/lib/private/blocky"} | root,
                    {
                        "path": "/var/lib/colord",
                        "user": "colord",
                        "group": "colord",
                        "mode": "0750",
                    },
                    {"path": "/var/lib/nixos"} | root,
                    {"path": "/home/alice/.ssh"} | alice | {"mode": "0700"},
                ],
                "files": [
                    {"path": "/etc/ssh/ssh_host_ed25519_key", "way": "auto", "parent": root},
                    {"path": "/etc/ssh/ssh_host_ed25519_key.pub", "way": "auto", "parent": root},
                    {
                        "path": "/var/lib/foo/token",
                        "way": "auto",
                        "parent": {"user": "colord", "group": "colord", "mode": "0750"},
                    },
                    {"path": "/etc/machine-id", "way": "auto", "parent": root},
                    {
                        "path": "/home/alice/.config/foo/rc",
                        "way": "auto",
                        "parent": alice | {"mode": "0700"},
                    },
                    {"path": "/home/alice/.zsh_history", "way": "symlink", "parent": alice},
                ],
            }
        },
        "preservation": {},
        "enabled": None,
        "tmpfiles": ["d /persist/var/lib/private 0700 root root -"],
        "suppressed": [],
    }


@pytest.mark.nix
def test_preservation_does_what_is_meant():
    done = check_module(render_preservation(PRESERVED))
    assert done["enabled"] is True
    assert done["suppressed"] == ["systemd-machine-id-commit.service"]
    root = {"user": "root", "group": "root", "mode": "0755"}
    assert done["preservation"]["/persist"] == {
        "directories": [
            {"path": "/var/lib/colord", "user": "colord", "group": "colord", "mode": "0750"},
            {"path": "/var/lib/nixos", "inInitrd": True} | root,
        ],
        "files": [
            {
                "path": "/etc/ssh/ssh_host_ed25519_key",
                "way": "bindmount",
                "mode": "0600",
                "parent": root,
            },
            {
                "path": "/var/lib/foo/token",
                "way": "bindmount",
                "mode": "0600",
                "parent": {"user": "colord", "group": "colord", "mode": "0750"},
            },
            {
                "path": "/etc/machine-id",
                "way": "bindmount",
                "mode": "0444",
                "inInitrd": True,
                "parent": root,
            },
            {
                "path": "/home/alice/.zsh_history",
                "way": "symlink",
                "parent": {"user": "alice", "group": "users", "mode": "0755"},
            },
        ],
    }


@pytest.mark.nix
def test_the_lists_parse_in_a_block():
    lists = render_lists(WHOLE, now=NOW).encode()
    parse(b'{ environment.persistence."/persist" = { hideMounts = true; ' + lists + b"}; }")


@pytest.mark.nix
def test_what_is_left_for_review_works_when_uncommented():
    text = "".join(
        line.replace("# ", "", 1) if line.lstrip().startswith(('# "', "# { ")) else line
        for line in render_module(WHOLE, now=NOW).splitlines(keepends=True)
    )
    store = check_module(text)["persistence"]["/persist"]
    assert [one for one in store["directories"] if "a-directory" in one["path"]] == [
        {
            "path": "/var/lib/a-directory-with-a-name-so-long-that-its-reason-needs-a-line-of-its-own",
            "user": "colord",
            "group": "colord",
            "mode": "0700",
        }
    ]
    assert "/var/lib/mystery" in [one["path"] for one in store["directories"]]
    assert "/home/alice/notes.txt" in [one["path"] for one in store["files"]]


@pytest.mark.nix
def test_a_store_and_a_guard_with_odd_characters():
    made = suggestion(entry(b"/root/.ssh", mode=0o700))
    odd = type(made)(
        b'/per sist%"${x}', made.directories, made.files, made.users, made.review, made.advice
    )
    done = check_module(render_module(odd))
    assert list(done["persistence"]) == ['/per sist%"${x}']
    assert done["tmpfiles"] == [
        "d /per\\x20sist%%\\x22${x}/root 0700 root root -",
        "d /root 0700 root root -",
    ]


# Everything but NUL, and more of what means something to Nix or a terminal.
BYTES = st.one_of(
    st.sampled_from([b"$", b"{", b"}", b"\\", b'"', b"'", b"\n", b"\r", b"\t", b"\x1b", b"#"]),
    st.binary(min_size=1, max_size=3).map(lambda data: data.replace(b"\0", b"_")),
    st.characters(codec="utf-8", exclude_characters="\0").map(str.encode),
)
NAMES = st.lists(BYTES, max_size=8).map(b"".join)


@pytest.mark.nix
@settings(max_examples=12, deadline=None)
@given(st.lists(NAMES, min_size=1, max_size=60))
def test_a_literal_evaluates_back_to_its_bytes(paths):
    literals = [string(path).encode(errors="surrogateescape") for path in paths]
    done = evaluate(b"[ " + b" ".join(literals) + b" ]")
    assert [path.encode(errors="surrogateescape") for path in done] == paths


@given(NAMES)
def test_a_literal_shows_no_control_character(path):
    assert not any(ord(character) < 32 or ord(character) == 127 for character in string(path))


@pytest.mark.nix
@settings(max_examples=12, deadline=None)
@given(
    st.lists(
        st.tuples(NAMES.map(lambda name: name.replace(b"/", b"")), st.text(), st.booleans()),
        max_size=12,
    )
)
def test_odd_names_and_reasons_stay_inside_the_module(drawn):
    entries = [
        entry(
            b"/home/alice/x" + name,
            verdict=Verdict.REVIEW if unknown else Verdict.PERSIST,
            why=why,
            title=why,
            **ALICE,
        )
        for name, why, unknown in drawn
    ]
    text = render_module(suggestion(*entries), now=NOW)
    assert all(character == "\n" or character.isprintable() for character in text)
    store = check_module(text)["persistence"]["/persist"]
    expected = {
        (b"/home/alice/x" + name).decode()
        for name, _, unknown in drawn
        if not unknown and is_text(name)
    }
    assert {one["path"] for one in store["directories"]} == expected
    assert store["files"] == []


def is_text(name):
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


@pytest.mark.nix
@pytest.mark.parametrize(
    "fault",
    [
        '{ environment.persistence."/p".directories = [ "/a" "/a" ]; }',
        (
            '{ environment.persistence."/p".directories = [ "/home/alice/a" ];'
            ' environment.persistence."/p".users.alice.directories = [ "a" ]; }'
        ),
        '{ environment.persistence."/p".directories = [ "a" ]; }',
        '{ environment.persistence."/p".directories = [ { directory = "/a"; how = "symlink"; } ]; }',
        '{ environment.persistence."/p".files = [ { file = "/a"; mode = "0600"; } ]; }',
        '{ environment.persistence."/p".files = [ { file = "/a"; method = "bind"; } ]; }',
        '{ environment.persistence."/p".users.eve.files = [ "a" ]; }',
        '{ preservation.preserveAt."/p".hideMounts = true; }',
    ],
)
def test_the_stub_refuses_what_the_modules_refuse(fault):
    with pytest.raises(AssertionError, match="error:"):
        check_module(fault)
