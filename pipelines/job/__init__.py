"""Holds the Beam job, which turns a list of images into a published dataset.

Begin in `prepare`, then `pipeline` (the graph) and `stages` (its transforms). `transform/` fits the normalization.
`results/` checks that every input is accounted for, and makes the complete dataset visible in one step.
"""
