{ config, ... }:
{
  environment.persistence."/persist" = {
    directories = if config.a then [ "/var/lib/a" ] else [ ];
  };
}
