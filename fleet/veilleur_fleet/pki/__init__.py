"""The fleet's own certificate authority: who is who, and who no longer is."""
