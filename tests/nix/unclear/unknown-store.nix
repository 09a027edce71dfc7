{ config, ... }:
{
  environment.persistence.${config.my.store} = {
    directories = [ "/var/log" ];
  };
}
