"""The eye: frames in, closed messages out, nothing else."""
