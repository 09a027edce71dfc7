{
  config,
  lib,
  ...
}: {
  environment = {
    systemPackages = [];
    persistence."/persist" = {
      directories =
        [
          "/var/log"
          {
            directory = "/var/lib/colord";
            user = "colord";
            group = "colord";
            mode = "u=rwx,g=rx,o=";
          }
          # NixOS: which name has which id
          "/var/lib/nixos"
        ]
        ++ lib.optional config.hardware.bluetooth.enable "/var/lib/bluetooth";
      files = ["/etc/adjtime" "/etc/machine-id"];
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
