"""Synthetic data that looks anatomical, for demonstrations and tests."""
