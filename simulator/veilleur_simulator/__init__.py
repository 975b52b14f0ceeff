"""Streets with exact truth, and the servers and faults around them."""
