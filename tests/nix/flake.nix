# What the flake gives on one system, with a stand-in for nixpkgs; `use` makes of it what a test
# asks for.
{
  root,
  use,
}:
let
  nixpkgs = import ./nixpkgs.nix { };
  flake = import (root + "/flake.nix");
  self = flake.outputs { inherit nixpkgs self; } // {
    outPath = toString root;
  };
in
use {
  inherit flake nixpkgs self;
  machine =
    settings:
    nixpkgs.lib.nixosSystem {
      modules = [
        self.nixosModules.default
        { services.drift = settings; }
      ];
    };
}
