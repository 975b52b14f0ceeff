"""What eye, mouth, fleet and simulator say to each other; imports none of them."""
