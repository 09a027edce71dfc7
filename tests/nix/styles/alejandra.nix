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
        ]
        ++ lib.optional config.hardware.bluetooth.enable "/var/lib/bluetooth";
      files = ["/etc/adjtime"];
    };
  };
}
