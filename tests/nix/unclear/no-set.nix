import ./configuration.nix
