"""Which service of the control centre is told what."""
