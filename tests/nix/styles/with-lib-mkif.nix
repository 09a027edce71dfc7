{ config, lib, ... }:
with lib;
let
  cfg = config.my.impermanence;
in
{
  options.my.impermanence.enable = mkEnableOption "impermanence";

  config = mkIf cfg.enable {
    environment.persistence."/persist" = {
      directories = [
        "/var/lib/nixos"
        (mkIf cfg.enable "/var/lib/odd")
      ];
    };
  };
}
