"""Contains the probes, with one file for each kind of fault.

They are in `data`, `model` and `training`, by what they check. A probe is a pure function of the subject that returns
findings. Start reading in `base`. `registry` lists all probes. A new probe is added there, and the sentences of its
findings in `../findings.toml`.
"""
