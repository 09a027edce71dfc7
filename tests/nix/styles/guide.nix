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
    ];
    files = [
      # "/etc/machine-id"
    ];
  };
}
