{ ... }:
{
  preservation = {
    enable = true;
    preserveAt."/persist" = {
      directories = [
        "/var/log"
        {
          directory = "/var/lib/nixos";
          inInitrd = true;
        }
        # Bluetooth: paired devices
        {
          directory = "/var/lib/bluetooth";
          mode = "0700";
        }
      ];
      files = [
        # systemd: the machine's identity
        {
          file = "/etc/machine-id";
          inInitrd = true;
        }
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
