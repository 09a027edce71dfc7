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
              ];
            };
          }
        ];
      };
    };
}
