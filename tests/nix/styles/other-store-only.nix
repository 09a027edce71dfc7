{ ... }:
{
  environment.persistence = {
    "/cache".directories = [ "/var/cache" ];
  };
}
