"""The services: control plane, worker, inference gateway, and how to run them on one machine."""
