"""Which Beam runner runs the job, said plainly, and the check of Beam's own options.

Since Beam 2.68 the name DirectRunner prefers Prism, a Go program that is fetched from the network, and falls back
silently. Here it means the in-process FnApiRunner: no network, all cores through the worker processes.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipelines.config import ConfigError

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions

LOCAL = ("DirectRunner", "FnApiRunner", "InProcess")
REFUSED = {"DaskRunner": "it reports DONE and leaves empty files (Beam 2.77)"}


def options(flags: Sequence[str]) -> PipelineOptions:
    """Beam's options from the command line's remaining flags.

    Raises:
      ConfigError: a flag that Beam does not know (Beam itself only warns), or one with a bad value.
    """
    from apache_beam.options.pipeline_options import PipelineOptions

    parser = _Parser(add_help=False, allow_abbrev=False)
    for kind in PipelineOptions.__subclasses__():
        kind._add_argparse_args(parser)
    _, unknown = parser.parse_known_args(list(flags))
    if unknown:
        raise ConfigError(
            f"Unknown option {unknown[0]!r}: neither `prepare` nor Apache Beam has it. See `prepare --help`; Beam's "
            "options are at https://beam.apache.org/documentation/programming-guide/#configuring-pipeline-options."
        )
    # The graph is fixed and the tests run it: inferring types again in every run takes half a second.
    return PipelineOptions(list(flags), pipeline_type_check=False)


def check_runner(name: str) -> None:
    """Raises ConfigError for a runner that is known not to do the job. Imports nothing."""
    if name in REFUSED:
        raise ConfigError(f"--runner {name} is refused: {REFUSED[name]}. Use DirectRunner or FlinkRunner.")


def runner(name: str) -> tuple[object, str]:
    """The runner to give to beam.Pipeline, and the name of what really runs.

    Raises:
      ConfigError: it is refused, or Beam has no such runner.
    """
    check_runner(name)
    if name in LOCAL:
        from apache_beam.runners.portability.fn_api_runner import FnApiRunner

        return FnApiRunner(), "FnApiRunner (in this process)"
    from apache_beam.runners.runner import create_runner

    try:
        return create_runner(name), name
    except (ValueError, ImportError, AttributeError) as e:
        raise ConfigError(
            f"--runner {name!r} cannot be used: {str(e).rstrip('.')}. DirectRunner runs in this process."
        ) from e


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        raise ConfigError(f"A Beam option cannot be used: {message}.")
