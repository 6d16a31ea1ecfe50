"""Runs jobs: Celery, a supervisor, a child process for each job."""
