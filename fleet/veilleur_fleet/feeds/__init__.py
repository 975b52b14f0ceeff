"""What the streets count, in the forms that portals and other systems read."""
