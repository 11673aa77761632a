"""Tasks for worker processes: light ones, slow ones, and those that do what a bad decoder does."""
