{ ... }: {
  environment.persistence."/persist" = {
    directories = [
      { directory = "/var/lib/sbctl"; mode = "0700"; }
      { directory = "/var/lib/acme"; user = "acme"; group = "acme"; mode = "0750"; }
    ];
    users.alice = { directories = [ "Documents" ]; };
  };
}
