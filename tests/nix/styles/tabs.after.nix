{
	environment.persistence."/persist" = {
		directories = [
			"/var/log"
			# Bluetooth: paired devices
			{
				directory = "/var/lib/bluetooth";
				mode = "0700";
			}
			# NixOS: which name has which id
			"/var/lib/nixos"
		];
		files = [
			# systemd: the machine's identity
			"/etc/machine-id"
		];
		users.alice = {
			directories = [
				# SSH: keys
				{
					directory = ".ssh";
					mode = "0700";
				}

				# Documents: documents
				"Documents"
			];
		};
	};
}
