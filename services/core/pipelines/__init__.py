"""Pipelines: jobs whose inputs are each other's outputs, recorded as a whole."""
