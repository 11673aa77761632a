"""Looks at a data set, a model and a past training, and says what keeps the accuracy low.

`subject/` gathers what there is to look at, once and bounded. `tools/` has the instruments. A probe (`probes/`) is a
pure function of the subject that returns findings (`finding.py`); `run_probes.py` runs all of them within their time;
`output/` tells the result. Begin in `command.py`. docs/doctor.md says what each probe looks for, and the source of
its thresholds.
"""
