{ ... }:
{
  environment.persistence."/persist".directories = [
    "/var/log"
  ];
  environment.persistence."/persist".users.alice.directories = [ "Documents" ];

  services.openssh.enable = true;
}
