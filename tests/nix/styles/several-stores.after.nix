{ ... }:
{
  environment.persistence = {
    "/persist" = {
      hideMounts = true;
      directories = [
        "/var/log"
        {
          directory = "/var/lib/sbctl";
          mode = "0700";
        }
        # Bluetooth: paired devices
        {
          directory = "/var/lib/bluetooth";
          mode = "0700";
        }
        # NixOS: which name has which id
        "/var/lib/nixos"
      ];
      users.alice = {
        directories = [
          "Documents"
          {
            directory = ".gnupg";
            mode = "0700";
          }
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
    "/cache" = {
      directories = [ "/var/cache" ];
      files = [ "/var/lib/expensive" ];
    };
  };
}
