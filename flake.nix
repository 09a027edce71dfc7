{
  description = "Tells what an impermanent NixOS root on Btrfs would lose at the next reboot, and how to keep it";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      forAllSystems = lib.genAttrs [
        "aarch64-linux"
        "x86_64-linux"
      ];
    in
    {
      packages = forAllSystems (
        system:
        let
          pkgs = nixpkgs.legacyPackages.${system};
        in
        {
          drift = pkgs.callPackage ./nix/package.nix { };
          default = self.packages.${system}.drift;
        }
      );

      apps = forAllSystems (system: {
        default = {
          type = "app";
          program = lib.getExe self.packages.${system}.default;
          meta = { inherit (self.packages.${system}.default.meta) description; };
        };
      });

      overlays.default = final: _prev: { drift = final.callPackage ./nix/package.nix { }; };

      nixosModules = {
        drift =
          { lib, pkgs, ... }:
          {
            imports = [ ./nix/module.nix ];
            services.drift.package =
              lib.mkDefault self.packages.${pkgs.stdenv.hostPlatform.system}.default;
          };
        default = self.nixosModules.drift;
      };

      checks = forAllSystems (
        system:
        let
          pkgs = nixpkgs.legacyPackages.${system};
          package = self.packages.${system}.default;
          machine = nixpkgs.lib.nixosSystem {
            modules = [
              self.nixosModules.default
              {
                nixpkgs.hostPlatform = system;
                services.drift = {
                  enable = true;
                  prometheus.enable = true;
                  loginMessage.enable = true;
                  rebootGuard.enable = true;
                };
              }
            ];
          };
        in
        {
          inherit package;
          # The tests that need no root; those on real Btrfs are left out in a build.
          tests = package.overridePythonAttrs (previous: {
            src = self;
            nativeCheckInputs = previous.nativeCheckInputs ++ [
              pkgs.python3Packages.hatchling
              pkgs.python3Packages.hypothesis
              pkgs.python3Packages.pytestCheckHook
            ];
          });
          module = pkgs.linkFarmFromDrvs "drift-units" (
            map (name: machine.config.systemd.units.${name}.unit) [
              "drift-guard.service"
              "drift-guard.timer"
              "drift-scan.service"
              "drift-scan.timer"
            ]
          );
        }
      );

      devShells = forAllSystems (
        system:
        let
          pkgs = nixpkgs.legacyPackages.${system};
        in
        {
          default = pkgs.mkShell {
            inputsFrom = [ self.packages.${system}.default ];
            packages = [
              pkgs.btrfs-progs
              pkgs.gnumake
              pkgs.ncdu
              pkgs.nix
              pkgs.python3Packages.hypothesis
              pkgs.python3Packages.mypy
              pkgs.python3Packages.pytest
              pkgs.python3Packages.types-tabulate
              pkgs.ruff
              pkgs.util-linux
            ];
          };
        }
      );
    };
}
