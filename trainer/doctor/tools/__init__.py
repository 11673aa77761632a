"""Holds measurements that several probes share.

They read the first layer with weights, the head, the scores, and the steps of a tf.data pipeline.
"""
