{
  inputs.impermanence.url = "github:nix-community/impermanence";

  outputs =
    { nixpkgs, impermanence, ... }:
    {
      nixosConfigurations.host = nixpkgs.lib.nixosSystem {
        system = "x86_64-linux";
        modules = [
          impermanence.nixosModules.impermanence
          ./configuration.nix
          {
            environment.persistence."/persist" = {
              hideMounts = true;
              directories = [
                "/var/log"
                # Bluetooth: paired devices
                {
                  directory = "/var/lib/bluetooth";
                  mode = "0700";
                }
                # NixOS: which name has which id
                "/var/lib/nixos"
              ];
              files = [
                # systemd: the machine's identity
                "/etc/machine-id"
              ];
              users.alice = {
                directories = [
                  # SSH: keys
                  {
                    directory = ".ssh";
                    mode = "0700";
                  }

                  # Documents: documents
                  "Documents"
                ];
              };
            };
          }
        ];
      };
    };
}
