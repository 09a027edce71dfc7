{ config, lib, ... }:
let
  store = "/persist";
  logs = "/var/log";
  always = [
    "/var/lib/nixos"
  ];
in
{
  environment.persistence.${store} = {
    directories = always ++ [
      logs
      "${logs}-old"
      # Bluetooth: paired devices
      {
        directory = "/var/lib/bluetooth";
        mode = "0700";
      }
    ] ++ lib.optionals config.services.foo.enable [
      "/var/lib/foo"
    ];
    files = map (key: "/etc/ssh/${key}") [ "ssh_host_rsa_key" ] ++ [
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
