"""One file for each kind of fault. A probe is a pure function of the subject that returns findings.

Begin in `base`, then `registry`, which lists all probes: a new one is added there, and the sentences of its findings in
`../findings.toml`.
"""
