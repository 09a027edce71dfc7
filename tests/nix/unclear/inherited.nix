{ config, ... }:
{
  environment.persistence."/persist" = {
    inherit (config.my) directories;
  };
}
