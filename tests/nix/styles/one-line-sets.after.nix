{ ... }: {
  environment.persistence."/persist" = {
    directories = [
      { directory = "/var/lib/sbctl"; mode = "0700"; }
      { directory = "/var/lib/acme"; user = "acme"; group = "acme"; mode = "0750"; }
      # Bluetooth: paired devices
      { directory = "/var/lib/bluetooth"; mode = "0700"; }
      # Logs: logs of the system
      "/var/log"
      # NixOS: which name has which id
      "/var/lib/nixos"
    ];
    users.alice = {
      directories = [
        "Documents"
        # SSH: keys
        {
          directory = ".ssh";
          mode = "0700";
        }
      ];
    };
    files = [
      # systemd: the machine's identity
      "/etc/machine-id"
    ];
  };
}
