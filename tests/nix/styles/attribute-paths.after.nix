{ ... }:
{
  environment.persistence."/persist".directories = [
    "/var/log"
    # Bluetooth: paired devices
    {
      directory = "/var/lib/bluetooth";
      mode = "0700";
    }
    # NixOS: which name has which id
    "/var/lib/nixos"
  ];
  environment.persistence."/persist".users.alice.directories = [
    "Documents"
    # SSH: keys
    {
      directory = ".ssh";
      mode = "0700";
    }
  ];
  environment.persistence."/persist".files = [
    # systemd: the machine's identity
    "/etc/machine-id"
  ];

  services.openssh.enable = true;
}
