"""Chooses and configures the Beam runner: this process, Flink, Spark, Prism, Dataflow.

Begin in `runner`. Imports configuration, core and storage.
"""
