"""The control plane: datasets, jobs, models over REST."""
