"""What the fleet keeps: records in the order they are told, what they say about crossings, and who said them."""
