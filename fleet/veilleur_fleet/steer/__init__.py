"""Steer the boxes: which signed documents they should hold, and what they say they hold."""
