{ username, ... }:
{
  environment.persistence."/persist" = {
    directories = [ "/var/log" ];
    users.${username} = {
      directories = [ "Documents" ];
    };
  };
}
