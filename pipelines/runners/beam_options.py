"""Has Beam parse the options of a job once."""

from __future__ import annotations

import weakref
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions

_Views = dict[type[PipelineOptions], PipelineOptions]
# Beside the options, because Beam copies and pickles what is in them.
_views: weakref.WeakKeyDictionary[PipelineOptions, _Views] = weakref.WeakKeyDictionary()


class BeamOptions(PipelineOptions):
    """Holds Beam's options, and keeps each view of them.

    Beam looks at its options four hundred times in a job of `prepare`, and each time builds a parser and parses all
    flags: a seventh of the CPU time that the job of a few images takes (Beam 2.77). A view holds no values of its own:
    it shows and changes those of the options that it is of.
    """

    def view_as(self, cls: type[PipelineOptions]) -> Any:
        """Returns the options as those of a class of Beam."""
        kept = _views.setdefault(self, {})
        if cls not in kept:
            kept[cls] = super().view_as(cls)
        return kept[cls]
