"""The fleet: stores what boxes count, acknowledges it, and shows it."""
