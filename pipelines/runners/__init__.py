"""Chooses and configures the Beam runner.

It is in this process, Flink, Spark, Prism or Dataflow. Begin in `runner`. Imports core and storage.
"""
