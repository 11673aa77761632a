"""Looks at a data set, a model and a past training, and says what keeps the accuracy low.

`subject/` gathers what there is to look at, once and bounded. `tools/` has the instruments. A probe (`probes/`) is a
pure function of the subject that returns findings; `run_probes.py` runs all of them within their time; `output/` tells
the result. Begin in `command.py`.

The sentences of all findings are in `findings.toml`. A probe names a finding and gives numbers and evidence, and
`catalogue.py` makes the finding of them. `make docs` writes the tables of docs/doctor.md from the same file: they say
what each probe looks for, and where its thresholds come from.
"""
