{
  outputs =
    { nixpkgs, ... }:
    {
      nixosConfigurations.one = nixpkgs.lib.nixosSystem {
        modules = [ { environment.persistence."/persist".directories = [ "/var/log" ]; } ];
      };
      nixosConfigurations.two = nixpkgs.lib.nixosSystem {
        modules = [ { environment.persistence."/persist".directories = [ "/var/log" ]; } ];
      };
    };
}
