"""Compares training and validation: what is in both, and what differs."""
