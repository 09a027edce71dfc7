"""All that knows the running machine."""
