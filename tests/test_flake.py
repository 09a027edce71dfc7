"""The flake, its package and its NixOS module, evaluated with a stand-in for nixpkgs."""

import json
import os
import pty
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nix_lab import evaluate, parse

from drift.cli import cli

PROJECT = Path(__file__).parents[1]
FLAKE = PROJECT / "tests" / "nix" / "flake.nix"
FILES = [
    PROJECT / "flake.nix",
    *sorted((PROJECT / "nix").glob("*.nix")),
    *sorted((PROJECT / "tests" / "nix").glob("*.nix")),
]
EVERYTHING = {
    "enable": True,
    "blank": "root-blank",
    "live": "/mnt",
    "persist": ["/persist", "/cache"],
    "engine": "metadata",
    "rules": ["/etc/nixos/plants.toml"],
    "extraArgs": ["--config", "/etc/nixos/persistence.nix"],
    "timer": {"interval": "daily", "randomizedDelay": "1h"},
    "prometheus": {"enable": True, "textfileDirectory": "/var/lib/node-exporter"},
    "loginMessage": {"enable": True},
    "rebootGuard": {
        "enable": True,
        "severity": "high",
        "mode": "block-weak",
        "every": 7,
        "atMost": 3,
    },
}

pytestmark = pytest.mark.nix


def of_flake(use):
    return evaluate(f"import {FLAKE} {{ root = {PROJECT}; use = {use}; }}".encode())


def literal(value):
    """A value of Python as Nix writes it."""
    text = json.dumps(json.dumps(value)).replace("${", "\\${")
    return f"(builtins.fromJSON {text})"


def machine(given):
    """What the module makes of the settings of services.drift."""
    return of_flake(
        f"""t: let m = (t.machine {literal(given)}).config; in builtins.deepSeq m.services.drift {{
          inherit (m) assertions environment;
          services = m.systemd.services or {{ }};
          timers = m.systemd.timers or {{ }};
          tmpfiles = m.systemd.tmpfiles.settings or {{ }};
        }}"""
    )


def fault(given):
    with pytest.raises(AssertionError) as caught:
        machine(given)
    return str(caught.value)


def commands(service):
    """The argument vectors of a unit's command lines, read as systemd reads them."""
    lines = service["serviceConfig"]["ExecStart"]
    return [_arguments(line) for line in ([lines] if isinstance(lines, str) else lines)]


def _arguments(line):
    words = re.findall(r'"(?:[^"\\]|\\.)*"', line)
    assert " ".join(words) == line
    assert not re.search(r"(?<!%)(?:%%)*%(?!%)|(?<!\$)(?:\$\$)*\$(?!\$)", line)
    return [json.loads(word).replace("%%", "%").replace("$$", "$") for word in words]


def parsed(arguments):
    """The options as drift's own command line has them; a fault in them fails the test."""
    with click.Context(cli, info_name="drift") as outer:
        command = cli.get_command(outer, arguments[0])
        return command.make_context(arguments[0], list(arguments[1:]), parent=outer).params


@pytest.fixture(scope="module")
def full():
    return machine(EVERYTHING)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PROJECT)))
def test_nix_reads_every_file(file):
    assert parse(file.read_bytes())


@pytest.fixture(scope="module")
def package():
    names = "map (one: one.name)"
    return of_flake(
        f"""t: let a = t.self.packages.x86_64-linux.default.arguments; in
        a // {{
          dependencies = {names} a.dependencies;
          build-system = {names} a.build-system;
          nativeCheckInputs = {names} a.nativeCheckInputs;
        }}"""
    )


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((PROJECT / "pyproject.toml").read_text())


class TestPackage:
    def test_it_is_the_projects_own(self, package, project):
        told = project["project"]
        assert (package["pname"], package["version"]) == (told["name"], told["version"])
        assert package["meta"]["description"] == told["description"]
        assert package["meta"]["license"]["spdxId"] == told["license"]
        assert package["meta"]["mainProgram"] in told["scripts"]

    def test_it_depends_on_what_the_project_depends_on(self, package, project):
        def names(requirements):
            return sorted(re.match(r"[\w-]+", one)[0] for one in requirements)

        assert sorted(package["dependencies"]) == names(project["project"]["dependencies"])
        assert package["build-system"] == names(project["build-system"]["requires"])
        assert set(package["pythonRelaxDeps"]) <= set(package["dependencies"])

    def test_its_sources_are_enough_to_build_it(self, package, tmp_path):
        tree = tmp_path / "source"
        for file in map(Path, package["src"]["files"]):
            target = tree / file.relative_to(package["src"]["root"])
            target.parent.mkdir(parents=True, exist_ok=True)
            ignored = shutil.ignore_patterns("__pycache__", "*.bin")
            if file.is_dir():
                shutil.copytree(file, target, ignore=ignored)
            else:
                shutil.copy(file, target)
        build = "from hatchling.build import build_wheel; build_wheel('.')"
        subprocess.run([sys.executable, "-c", build], cwd=tree, check=True, capture_output=True)
        (wheel,) = tree.glob("*.whl")
        with zipfile.ZipFile(wheel) as opened:
            assert {"drift/cli.py", "drift/shipped_rules/openssh.toml"} <= set(opened.namelist())

    def test_it_has_manual_pages_and_completions(self, package, tmp_path):
        subprocess.run(
            ["sh", "-eu", "-c", package["postInstall"].replace("python3", sys.executable)],
            cwd=PROJECT,
            env={**os.environ, "out": str(tmp_path)},
            check=True,
            capture_output=True,
        )
        assert (tmp_path / "share" / "man" / "man1" / "drift-scan.1").stat().st_size
        assert (tmp_path / "share" / "bash-completion" / "completions" / "drift").stat().st_size


class TestFlake:
    def test_its_outputs(self):
        told = of_flake(
            """t: {
              systems = map (name: builtins.attrNames t.self.${name}) [
                "apps" "checks" "devShells" "packages"
              ];
              top = builtins.attrNames t.self;
              checks = builtins.attrNames t.self.checks.x86_64-linux;
              inherit (t.self.apps.x86_64-linux.default) type program;
              overlay = (t.self.overlays.default t.nixpkgs.legacyPackages.x86_64-linux { }).drift.name;
              modules = builtins.attrNames t.self.nixosModules;
              shell = t.self.devShells.x86_64-linux.default.arguments.inputsFrom;
              inherit (t.flake) description;
            }"""
        )
        description = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"][
            "description"
        ]
        assert told == {
            "systems": [["aarch64-linux", "x86_64-linux"]] * 4,
            "top": [
                "apps",
                "checks",
                "devShells",
                "nixosModules",
                "outPath",
                "overlays",
                "packages",
            ],
            "checks": ["module", "package", "tests"],
            "type": "app",
            "program": "/nix/store/drift/bin/drift",
            "overlay": "drift",
            "modules": ["default", "drift"],
            "shell": ["/nix/store/drift"],
            "description": description,
        }

    def test_its_checks_build_the_units_and_run_the_tests(self):
        told = of_flake(
            """t: with t.self.checks.x86_64-linux; {
              units = map (one: one.name) module.entries;
              tests = map (one: one.name) tests.arguments.nativeCheckInputs;
            }"""
        )
        assert told == {
            "units": [
                "unit-drift-guard.service",
                "unit-drift-guard.timer",
                "unit-drift-scan.service",
                "unit-drift-scan.timer",
            ],
            "tests": ["versionCheckHook", "hatchling", "hypothesis", "pytestCheckHook"],
        }

    def test_the_configuration_of_the_readme_is_a_valid_one(self):
        text = (PROJECT / "README.md").read_text()
        example = text.split("```nix\n")[1].split("```")[0]
        told = of_flake(
            f"""t: let
              example = ({example});
              made = example.outputs {{ inherit (t) nixpkgs; drift = t.self; self = made; }};
              inherit (builtins.head (builtins.attrValues made.nixosConfigurations)) config;
            in {{
              inputs = builtins.attrNames example.inputs;
              inherit (config.services.drift) enable;
              units = builtins.attrNames config.systemd.units;
            }}"""
        )
        assert told == {
            "inputs": ["drift", "nixpkgs"],
            "enable": True,
            "units": [
                "drift-guard.service",
                "drift-guard.timer",
                "drift-scan.service",
                "drift-scan.timer",
            ],
        }


class TestModule:
    def test_every_option_is_described(self):
        told = of_flake("t: (t.machine { }).options")
        assert [one["name"].removeprefix("services.drift.") for one in told] == [
            "blank",
            "enable",
            "engine",
            "extraArgs",
            "live",
            "loginMessage.enable",
            "package",
            "persist",
            "prometheus.enable",
            "prometheus.textfileDirectory",
            "rebootGuard.atMost",
            "rebootGuard.enable",
            "rebootGuard.every",
            "rebootGuard.mode",
            "rebootGuard.severity",
            "rules",
            "timer.enable",
            "timer.interval",
            "timer.randomizedDelay",
        ]
        assert all(re.search(r"\S\.\s*$", one["description"]) for one in told)

    def test_disabled_it_changes_nothing(self):
        told = of_flake(
            """t: let inherit (t.machine { }) config; in {
              names = builtins.attrNames config;
              units = config.systemd;
            }"""
        )
        assert told == {"names": ["meta", "services", "systemd"], "units": {"units": {}}}

    def test_enabled_it_scans_every_hour_and_writes_no_file(self):
        told = machine({"enable": True})
        assert told["environment"]["systemPackages"] == ["/nix/store/drift"]
        assert set(told["environment"]) == {"etc", "systemPackages"}
        assert told["environment"]["etc"] == {}
        assert list(told["services"]) == ["drift-scan"]
        assert commands(told["services"]["drift-scan"]) == [
            ["/nix/store/drift/bin/drift", "scan", "--brief", "--engine", "auto"]
        ]
        assert told["timers"] == {
            "drift-scan": {
                "description": "Tell from time to time what the next reboot would lose",
                "wantedBy": ["timers.target"],
                "timerConfig": {
                    "OnBootSec": "2min",
                    "OnCalendar": "hourly",
                    "RandomizedDelaySec": "5min",
                    "Persistent": False,
                },
            }
        }

    def test_settings_become_arguments_that_drift_takes(self, full):
        request = ["--live", "/mnt", "--blank", "root-blank", "--engine", "metadata"]
        request += ["--persist", "/persist", "--persist", "/cache"]
        request += ["--config", "/etc/nixos/persistence.nix"]
        guard = ["guard", "--severity", "high", "--mode", "block-weak", "--every", "7"]
        lines = [
            line
            for name in ("drift-scan", "drift-guard")
            for line in commands(full["services"][name])
        ]
        assert lines == [
            ["/nix/store/drift/bin/drift", *arguments, *request]
            for arguments in (
                ["scan", "--brief", "--output", "/run/drift-report/brief"],
                ["scan", "--prometheus", "--output", "/var/lib/node-exporter/drift.prom"],
                [*guard, "--at-most", "3"],
            )
        ]
        for line in lines:
            told = parsed(line[1:])
            assert told["live"] == b"/mnt"
            assert told["blank"] == b"root-blank"
            assert told["engine"] == "metadata"
            assert told["persist"] == (b"/persist", b"/cache")
            assert told["config"] == (b"/etc/nixos/persistence.nix",)
        assert parsed(lines[2][1:])["at_most"] == 3

    @pytest.mark.parametrize(
        ("option", "parameter"),
        [("engine", "engine"), ("severity", "severity"), ("mode", "mode")],
    )
    def test_choices_are_those_of_the_command(self, option, parameter):
        types = {
            one["name"].rpartition(".")[2]: one["type"]
            for one in of_flake("t: (t.machine { }).options")
        }
        with click.Context(cli) as outer:
            params = {one.name: one for one in cli.get_command(outer, "guard").params}
        assert types[option].removeprefix("one of ").split() == list(params[parameter].type.choices)

    def test_defaults_are_those_of_the_command(self):
        line = commands(
            machine({"enable": True, "rebootGuard": {"enable": True}})["services"]["drift-guard"]
        )
        told, bare = parsed(line[0][1:]), parsed(["guard"])
        assert told == bare

    def test_rules_are_for_every_call_of_drift(self, full):
        told = machine({"enable": True, "rules": ["/b.toml", "/nix/store/x/a.toml", "/b.toml"]})
        assert told["environment"]["etc"] == {
            "drift/rules.d/000-b.toml": {"source": "/b.toml"},
            "drift/rules.d/001-a.toml": {"source": "/nix/store/x/a.toml"},
            "drift/rules.d/002-b.toml": {"source": "/b.toml"},
        }

    def test_the_power_key_passes_the_guard(self, full):
        assert full["environment"]["etc"]["systemd/logind.conf.d/50-drift.conf"] == {
            "text": "[Login]\nPowerKeyIgnoreInhibited=yes\n"
        }

    def test_the_directory_of_the_metrics_is_made_where_it_is_another(self, full):
        assert full["tmpfiles"] == {"drift": {"/var/lib/node-exporter": {"d": {}}}}
        told = machine({"enable": True, "prometheus": {"enable": True}})
        assert told["tmpfiles"] == {}
        assert commands(told["services"]["drift-scan"])[1][4] == "/run/drift-report/drift.prom"

    @pytest.mark.parametrize(
        ("given", "complaint"),
        [
            ({"blnak": "x"}, "there is no option services.drift.blnak"),
            ({"timer": {"interval": 5}}, "services.drift.timer.interval is no str: 5"),
            ({"engine": "fast"}, "services.drift.engine is no one of auto"),
            ({"persist": ["persist"]}, "services.drift.persist is no list of string matching"),
            ({"rebootGuard": {"every": 0}}, "services.drift.rebootGuard.every is no positive"),
            ({"prometheus": True}, "services.drift.prometheus is no set"),
        ],
        ids=["unknown", "no string", "no choice", "relative", "zero", "no set"],
    )
    def test_what_it_does_not_know_is_refused(self, given, complaint):
        assert complaint in fault({"enable": True, **given})

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"rules": ["/etc/plants"]}, "services.drift.rules has to name .toml files"),
            (
                {"timer": {"enable": False}, "prometheus": {"enable": True}},
                "services.drift.timer.enable has to be true",
            ),
            (
                {"timer": {"enable": False}, "loginMessage": {"enable": True}},
                "services.drift.timer.enable has to be true",
            ),
        ],
        ids=["rules", "metrics", "message"],
    )
    def test_what_can_not_work_is_asserted(self, given, message):
        failed = [
            one["message"]
            for one in machine({"enable": True, **given})["assertions"]
            if not one["assertion"]
        ]
        assert len(failed) == 1
        assert message in failed[0]

    def test_what_works_asserts_nothing(self, full):
        assert [one["assertion"] for one in full["assertions"]] == [True, True]

    @given(
        st.lists(
            st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=1, max_size=3
        )
    )
    @settings(max_examples=15)
    def test_any_argument_reaches_drift_as_it_is(self, arguments):
        told = machine({"enable": True, "extraArgs": arguments})
        (line,) = commands(told["services"]["drift-scan"])
        assert line[5:] == arguments


# Each gives a service mounts of its own (systemd.exec(5)), or hides the disk from it.
FORBIDDEN = re.compile(
    "Bind.*|DynamicUser|ExecPaths|Extension.*|InaccessiblePaths|Mount.*|NoExecPaths|Private.*"
    "|ProcSubset|Protect.*|ReadOnlyPaths|ReadWritePaths|RootDirectory|RootImage|TemporaryFileSystem"
)


class TestUnits:
    def test_they_see_the_mounts_of_the_system(self, full):
        for service in full["services"].values():
            assert [name for name in service["serviceConfig"] if FORBIDDEN.fullmatch(name)] == []

    def test_they_may_not_do_more_than_they_need(self, full):
        scan, guard = (
            full["services"][name]["serviceConfig"] for name in ("drift-scan", "drift-guard")
        )
        needed = ["CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_SYS_ADMIN"]
        assert scan["CapabilityBoundingSet"] == needed
        assert guard["CapabilityBoundingSet"] == [*needed, "CAP_SYS_BOOT"]
        for unit in (scan, guard):
            assert unit["NoNewPrivileges"] is True
            assert unit["RestrictAddressFamilies"] == ["AF_UNIX"]
            assert unit["SystemCallFilter"] == ["@system-service", "@mount"]

    @pytest.mark.skipif(
        shutil.which("systemd-analyze") is None, reason="needs the program systemd-analyze"
    )
    def test_systemd_takes_them(self, full, tmp_path):
        program = tmp_path / "bin" / "drift"
        program.parent.mkdir()
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        units = []
        for kind, section in (("services", "Service"), ("timers", "Timer")):
            for name, unit in full[kind].items():
                file = tmp_path / f"{name}.{section.lower()}"
                lines = [f"[Unit]\nDescription={unit['description']}\n[{section}]"]
                for key, value in unit[f"{section.lower()}Config"].items():
                    values = value if isinstance(value, list) else [value]
                    lines += [f"{key}={_written(one)}" for one in values]
                text = "\n".join(lines) + "\n"
                text = text.replace("/nix/store/drift/bin/drift", str(program))
                file.write_text(text.replace("/nix/store/coreutils/bin", "/bin"))
                units.append(file)
        assert len(units) == 4
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", *units],
            env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
            capture_output=True,
            text=True,
            check=False,
        )
        said = [line for line in done.stderr.splitlines() if "drift" in line]
        assert (done.returncode, said) == (0, [])

    def test_a_scan_that_fails_takes_the_old_message_away(self, full, tmp_path):
        script = full["services"]["drift-scan"]["postStop"]
        brief = tmp_path / "brief"
        script = script.replace("/run/drift-report/brief", str(brief))
        for result, told in (
            ("success", "3 things\n"),
            (
                "exit-code",
                "drift can't tell what the next reboot would lose: journalctl -u drift-scan\n",
            ),
        ):
            brief.write_text("3 things\n")
            subprocess.run(["sh", "-ec", script], env={"SERVICE_RESULT": result}, check=True)
            assert brief.read_text() == told

    def test_the_message_is_for_terminals_alone(self, full, tmp_path):
        script = full["environment"]["loginShellInit"]
        brief = tmp_path / "brief"
        script = script.replace("/run/drift-report/brief", str(brief))
        assert _on_terminal(script) == ""
        brief.write_text("3 things would be lost\n")
        assert _on_terminal(script) == "3 things would be lost\r\n"
        done = subprocess.run(["sh", "-ec", script], capture_output=True, check=True)
        assert (done.stdout, done.stderr) == (b"", b"")


def _written(value):
    return {True: "true", False: "false"}.get(value, value) if isinstance(value, bool) else value


def _on_terminal(script):
    """What a shell prints with its output on a terminal."""
    reader, writer = pty.openpty()
    try:
        subprocess.run(["sh", "-ec", f"{script}\nprintf ."], stdout=writer, check=True)
        said = b""
        while not said.endswith(b"."):
            said += os.read(reader, 4096)
    finally:
        os.close(reader)
        os.close(writer)
    return said[:-1].decode()
