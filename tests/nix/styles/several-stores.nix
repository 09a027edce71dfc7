{ ... }:
{
  environment.persistence = {
    "/persist" = {
      hideMounts = true;
      directories = [
        "/var/log"
        {
          directory = "/var/lib/sbctl";
          mode = "0700";
        }
      ];
      users.alice = {
        directories = [
          "Documents"
          {
            directory = ".gnupg";
            mode = "0700";
          }
        ];
      };
    };
    "/cache" = {
      directories = [ "/var/cache" ];
      files = [ "/var/lib/expensive" ];
    };
  };
}
