"""Checks whether the images suit the model, and the labels its loss."""
