"""The whole platform as processes of one machine."""
