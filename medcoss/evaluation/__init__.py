"""Scores, and predictions over whole datasets."""
