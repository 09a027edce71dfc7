"""Copy entries of the live root into persistent storage: whole, verified, or not at all."""
