"""What goes wrong in a job beyond its input."""


class TritonRefused(Exception):
    """Triton cannot load or run a model; the message is Triton's reason."""
