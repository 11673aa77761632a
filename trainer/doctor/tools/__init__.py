"""Holds measurements that several probes share.

They read the first layer with weights, the head, a copy of the model, and the steps of a tf.data pipeline.
"""
