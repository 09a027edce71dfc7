{ config, lib, pkgs, ... }:

{
  fileSystems."/persist".neededForBoot = true;

  # What outlives a reboot.
  environment.persistence."/persist" = {
    hideMounts = true;
    directories = [
      "/var/spool" # mail and print jobs
      "/srv"

      # networks
      "/etc/NetworkManager/system-connections"
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
      # "/etc/machine-id"
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
