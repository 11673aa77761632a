"""Tells a user of the base install which extra the command needs."""

from __future__ import annotations

# What the extras `prepare` and `train` install, as it is imported.
_LIBRARIES = frozenset(
    {
        "PIL",
        "apache_beam",
        "jinja2",
        "matplotlib",
        "pyarrow",
        "tensorboard",
        "tensorflow_metadata",
        "tensorflow_transform",
    }
)


def missing(error: ModuleNotFoundError, extra: str) -> str:
    """Returns a sentence that says what to install, or "" where the module is none of an extra."""
    library = (error.name or "").partition(".")[0]
    if library not in _LIBRARIES:
        return ""
    return (
        f"this command needs {library}, which is not installed: this is Shardmill without the extra {extra!r}. "
        f"Install it with: pip install 'shardmill[{extra}]'"
    )
