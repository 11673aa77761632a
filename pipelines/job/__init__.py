"""Holds the Beam job, which turns a list of images into a published dataset.

Begin in `prepare`, then `pipeline` (the graph) and `stages` (its transforms). `transform` and `tft_job` fit the
normalization, or `kept_graphs` without them; `accounting` checks that every input is accounted for; `publish` makes the
complete dataset visible in one step.
"""
