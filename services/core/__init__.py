"""What the services share: settings, database, object store, job lifecycle."""
