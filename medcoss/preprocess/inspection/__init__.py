"""What a dataset holds, and what is odd about it: one report with pictures (docs/inspect.md)."""
