"""Synthetic data that looks anatomical, for demonstrations and tests."""

from medcoss.phantoms.sample_data import write_sample_data

__all__ = ["write_sample_data"]
