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
    directories = always ++ [ logs "${logs}-old" ] ++ lib.optionals config.services.foo.enable [
      "/var/lib/foo"
    ];
    files = map (key: "/etc/ssh/${key}") [ "ssh_host_rsa_key" ];
  };
}
