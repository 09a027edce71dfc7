{ lib, config, ... }:
{
  environment.persistence."/persist" = lib.mkMerge [
    {
      directories = [ "/var/log" ];
    }
    (lib.mkIf config.services.foo.enable {
      directories = [ "/var/lib/foo" ];
    })
  ];
}
