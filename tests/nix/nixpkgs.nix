# Stands in for nixpkgs as the flake's input: its packages are names, its builders give back what
# they were called with.
{
  system ? "x86_64-linux",
}:
let
  plainLib = import ./lib.nix;

  package = name: {
    type = "derivation";
    inherit name;
    outPath = "/nix/store/${name}";
    meta = { };
  };
  packages = names: plainLib.genAttrs names package;

  built =
    arguments:
    package arguments.pname
    // {
      inherit arguments;
      inherit (arguments) meta version;
      overridePythonAttrs = change: built (arguments // change arguments);
    };

  pkgs =
    packages [
      "btrfs-progs"
      "coreutils"
      "gnumake"
      "ncdu"
      "nix"
      "ruff"
      "util-linux"
      "versionCheckHook"
    ]
    // {
      inherit lib;
      stdenv = {
        hostPlatform.system = system;
        buildPlatform.canExecute = platform: platform.system == system;
      };
      python3Packages =
        packages [
          "btrfsutil"
          "click"
          "hatchling"
          "humanize"
          "hypothesis"
          "mypy"
          "pytest"
          "pytestCheckHook"
          "tabulate"
          "tree-sitter"
          "types-tabulate"
          "xxhash"
        ]
        // {
          tree-sitter-grammars = packages [
            "tree-sitter-nix"
            "tree-sitter-toml"
          ];
          python.interpreter = "python3";
          buildPythonApplication = built;
        };
      callPackage =
        file: arguments:
        let
          function = import file;
        in
        function (builtins.intersectAttrs (builtins.functionArgs function) pkgs // arguments);
      mkShell = arguments: package "shell" // { inherit arguments; };
      linkFarmFromDrvs = name: entries: package name // { inherit entries; };
    };

  lib = plainLib // {
    nixosSystem =
      { modules }:
      let
        evaluated = import ./evaluate.nix {
          inherit modules pkgs;
          lib = plainLib;
        };
        systemd = evaluated.config.systemd or { };
        units =
          kind: unitsOf:
          builtins.listToAttrs (
            map (name: {
              name = "${name}.${kind}";
              value.unit = package "unit-${name}.${kind}" // {
                told = unitsOf.${name};
              };
            }) (builtins.attrNames unitsOf)
          );
      in
      evaluated
      // {
        config = evaluated.config // {
          systemd = systemd // {
            units =
              units "service" (systemd.services or { }) // units "timer" (systemd.timers or { });
          };
        };
      };
  };
in
{
  inherit lib;
  legacyPackages.${system} = pkgs;
}
