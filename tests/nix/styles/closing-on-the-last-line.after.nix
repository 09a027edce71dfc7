{ ... }:
{
  environment.persistence."/persist" = {
    directories = [ "/var/log"
                    "/var/lib/nixos"
                    # Bluetooth: paired devices
                    {
                      directory = "/var/lib/bluetooth";
                      mode = "0700";
                    }
    ];
    hideMounts = true;
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
