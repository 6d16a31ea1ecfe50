"""Backup and restore: all rows and a list of all objects, and the objects too if wanted."""
