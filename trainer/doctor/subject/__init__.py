"""What the doctor looks at: a data set, a model, a past training, gathered once and bounded. Begin in `load`."""
