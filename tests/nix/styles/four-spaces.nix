{ pkgs, ... }:

{
    environment.persistence."/persist" = {
        directories = [
            "/var/log"
        ];

        # nothing else yet
    };
}
