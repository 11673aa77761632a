"""How a probe ends that could not tell: neither is an error of the program."""

from __future__ import annotations


class OutOfTime(Exception):  # noqa: N818 - an outcome and not an error
    """A probe used up its time before it could tell."""


class NotApplicable(Exception):  # noqa: N818 - an outcome and not an error
    """A probe cannot tell anything of this subject; the message says why, as the end of "not checked: ..."."""
