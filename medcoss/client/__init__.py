"""The typed Python client of a medcoss platform."""
