"""Server-sent events: one poller a process serves all who watch."""
