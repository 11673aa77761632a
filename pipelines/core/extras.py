"""Tells a user of the base install which extra a command needs."""

from __future__ import annotations

# Import names of the libraries that the extras `prepare` and `train` install.
_LIBRARIES = frozenset(
    {
        "PIL",
        "apache_beam",
        "jinja2",
        "matplotlib",
        "pyarrow",
        "scipy",
        "tensorboard",
        "tensorflow_metadata",
        "tensorflow_transform",
    }
)


def missing(error: ModuleNotFoundError, extra: str) -> str:
    """Returns a sentence that says what to install.

    The result is "" if the missing module does not belong to an extra.
    """
    library = (error.name or "").partition(".")[0]
    if library not in _LIBRARIES:
        return ""
    return (
        f"this command needs {library}, which is not installed: this is Shardmill without the extra {extra!r}. "
        f"Install it with: pip install 'shardmill[{extra}]'"
    )
