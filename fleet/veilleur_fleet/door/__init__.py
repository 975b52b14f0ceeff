"""The fleet's door for boxes: a listener of its own, apart from the page for people."""
