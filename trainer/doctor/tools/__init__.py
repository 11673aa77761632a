"""Instruments that several probes use: the first layer, the head, a copy of the model, tf.data steps."""
