"""What lies in persistent storage: whose it is, and a quarantine for what is nobody's."""
