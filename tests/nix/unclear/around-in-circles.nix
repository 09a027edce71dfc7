let
  stores = stores;
in
{
  environment.persistence = stores;
}
