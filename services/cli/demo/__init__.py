"""`medcoss demo`: the whole platform end to end on synthetic data, and a report to look at."""
