"""All that knows the Btrfs format and its ioctls."""
