{ ... }:
{
  home.persistence."/persist" = {
    directories = [ "Documents" ];
  };
}
