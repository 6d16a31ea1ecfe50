"""Recipes that turn raw files into training shards, and the same steps for serving; free of torch."""
