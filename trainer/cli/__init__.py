"""The command line of `python -m trainer`. Begin in `main`."""
