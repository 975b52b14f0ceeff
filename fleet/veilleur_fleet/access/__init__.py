"""Who may come in, in what capacity, and what they did."""
