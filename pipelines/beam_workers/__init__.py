"""Starts the worker processes of portable Beam runners.

`external_pool` is a service that starts them, `sdk_harness` is the program of each worker.
"""
