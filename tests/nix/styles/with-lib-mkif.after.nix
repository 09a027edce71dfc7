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
        # Bluetooth: paired devices
        {
          directory = "/var/lib/bluetooth";
          mode = "0700";
        }
        # Logs: logs of the system
        "/var/log"
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
  };
}
