"""The doctor: looks at a data set, a model and a past training, and says what keeps the accuracy low.

`subject.py` gathers what there is to look at, once and bounded. A probe (`probe.py`) is a pure function of it that
gives findings (`finding.py`); `checkup.py` runs all of them within their time; `report.py` and `page.py`
tell the result.
What each probe looks for, and where its thresholds come from, is in docs/doctor.md.
"""
