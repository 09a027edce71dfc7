{ ... }:
{
  environment.persistence."/persist" = import ./persist.nix;
}
