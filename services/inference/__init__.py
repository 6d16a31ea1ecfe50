"""The HTTP gateway in front of Triton: it decodes, tiles, asks Triton, blends and answers."""
