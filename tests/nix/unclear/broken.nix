{
  environment.persistence = {
    "/persist" = [
  };
}
