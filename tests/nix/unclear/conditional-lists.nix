{ lib, config, ... }:
{
  environment.persistence."/persist" = lib.mkMerge [
    (lib.mkIf config.a { directories = [ "/var/lib/a" ]; })
    (lib.mkIf config.b { directories = [ "/var/lib/b" ]; })
  ];
}
