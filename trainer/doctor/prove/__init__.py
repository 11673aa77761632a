"""Trains a program as it is and with the remedy of a finding.

setup     what is trained: model, loss, optimizer, data
remedies  finding -> the changed training, and the expression to change
source    the change as a patch of the user's file
trial     the trainings, and the Proof
"""
