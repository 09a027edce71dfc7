{ config, pkgs, ... }:
{
  environment.systemPackages = [ pkgs.git ];

  services.openssh.enable = true;

  environment.persistence."/persist" = {
    directories = [
      # Bluetooth: paired devices
      {
        directory = "/var/lib/bluetooth";
        mode = "0700";
      }

      # Logs: logs of the system
      "/var/log"

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
