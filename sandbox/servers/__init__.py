"""The small servers that the sandbox runs itself, each `python -m sandbox.servers.<name>`."""
