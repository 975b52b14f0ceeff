"""What operators confirm for drivers: nothing is told to the public that a person has not looked at."""
