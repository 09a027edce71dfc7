"""What a review remembers, compares and writes."""
