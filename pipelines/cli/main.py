"""Executes the commands of `python -m pipelines`.

They are look, prepare, inspect, verify, sample and worker-pool.

Exit status: 0 done, 1 failed, 2 usage, 3 too much of the data rejected, 130 interrupted.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import re
import sys
from collections.abc import Callable, Collection, Sequence

from pipelines.cli import options
from pipelines.core import errors, extras, shortage
from pipelines.core.console import interrupts, streams, terminal

DONE, FAILED, USAGE = 0, 1, 2
# When `prepare` looks for garbage, in place of after each 700 new objects (see `gc.set_threshold`): its references are
# many and none of them is garbage, so that looking took a tenth of this process's time.
GARBAGE = 50_000, 20, 50
# Errors such as a full disk or a read-only folder: the system's message says what to do.
_SYSTEM = ("OSError", "PermissionError", "FileNotFoundError", "ResourceExhaustedError", "PermissionDeniedError")


def main(argv: Sequence[str] | None = None, program: str = options.PROGRAM) -> int:
    """Executes one command and returns its exit status.

    Args:
      program: what the user typed before the command; usage lines and errors repeat it.
    """
    return streams.run(lambda: _main(sys.argv[1:] if argv is None else argv, program))


def _main(argv: Sequence[str], program: str) -> int:
    args, rest = options.parse(argv, program)
    terminal.set_up()
    try:
        with terminal.log_printed():
            return _COMMANDS[args.command](args, rest)
    except KeyboardInterrupt:
        return _interrupted()
    except BrokenPipeError:  # `streams.run` finds out whether the reader of our output has gone
        raise
    except errors.ConfigError as e:
        print(f"error: {e}", file=sys.stderr)
        return USAGE
    except ModuleNotFoundError as e:
        told = extras.missing(e, "prepare")
        if not told:
            return _failed(e)
        print(f"error: {told}", file=sys.stderr)
        return FAILED
    except Exception as e:
        return _failed(e)


def _prepare(args: argparse.Namespace, beam_flags: list[str]) -> int:
    from pipelines.storage import remote

    remote.use(beam_flags)  # with --like, the options are read from a dataset
    config = options.prepare_config(args)
    shortage.check()
    from pipelines import storage, work_dir
    from pipelines.inputs import listing
    from pipelines.runners import runner
    from pipelines.workers import pool as workers

    away = storage.is_remote(config.input)
    if not away:  # input, output and flags are checked before imports that take seconds
        reading = listing.check(config.input_spec, config.allow_lost_classes)
    runner.check_runner(args.runner)
    runner.located(config.input, config.output, args.runner)
    runner.completed(args.runner, beam_flags)
    if beam_flags:
        runner.options(beam_flags)
    runner.check_buckets(config.output, args.runner, beam_flags)
    if away:  # listing a store needs Beam and its options
        reading = listing.check(config.input_spec, config.allow_lost_classes)
    work_dir.check_output(config.output, config.input)
    if args.runner not in runner.SERVICES:
        workers.decoders(config.workers, config.input)  # the workers load TensorFlow while this process loads Beam
    with terminal.loading_shown(), terminal.quick_imports():
        from pipelines.cli import summary_table
        from pipelines.job import prepare

    gc.set_threshold(*GARBAGE)
    result = prepare.prepare(config, beam_flags, args.runner, reading)
    print(summary_table.summary_table(result.contract, result.summary))
    print(f"Dataset: {config.output}\nReport:  {os.path.join(config.output, 'report.html')}")
    return DONE


def _look(args: argparse.Namespace, _: list[str]) -> int:
    config = options.look_config(args)
    from pipelines.cli import look_output
    from pipelines.inputs import listing

    if args.images and config.takes_range_of_all:
        raise errors.ConfigError(
            f"--bit-depth {config.bit_depth} is found out from all images, and look reads a few. State the range: "
            "--bit-depth LOW..HIGH."
        )
    reading = listing.check(config.input_spec, allow_lost_classes=True)
    found = look_output.count(reading, config.allow_lost_classes)
    print(look_output.as_json(found) if args.json else look_output.as_text(found))
    if args.images:
        from pipelines.dataset import contact_sheet

        contact_sheet.draw_classes(found.examples, config.source_policy).save(args.images)
        print(f"Contact sheet: {args.images}", file=sys.stderr)
    return DONE if not found.lost else FAILED


def _inspect(args: argparse.Namespace, _: list[str]) -> int:
    from pipelines.dataset import describe

    print(describe.describe_json(args.directory) if args.json else describe.describe(args.directory))
    if args.images:
        terminal.import_tensorflow()
        describe.contact_sheet(args.directory, args.images, split=args.split)
        print(f"Contact sheet: {args.images}", file=sys.stderr)
    return DONE


def _verify(args: argparse.Namespace, _: list[str]) -> int:
    from pipelines.cli import verify_output
    from pipelines.core.console import progress
    from pipelines.dataset import source_changes, verify

    with progress.shown():
        problems = verify.verify(args.directory)
        found = None if args.source is None else source_changes.find(args.directory, args.source)
    told, summary = verify_output.texts(args.directory, problems, found)
    if args.json:
        print(verify_output.as_json(problems, found))
    else:
        print("\n".join(told))
    if not problems and not (found and found.changes):
        return DONE
    print(summary, file=sys.stderr)
    return FAILED


def _sample(args: argparse.Namespace, _: list[str]) -> int:
    from pipelines.sample import draw

    draw.draw(args.output, args.count, args.seed)
    print(f"Sample images: {args.output}")
    return DONE


def _worker_pool(args: argparse.Namespace, _: list[str]) -> int:
    from pipelines.beam_workers import external_pool

    external_pool.serve(args.host, args.port)
    return DONE


_COMMANDS: dict[str, Callable[[argparse.Namespace, list[str]], int]] = {
    "look": _look,
    "prepare": _prepare,
    "inspect": _inspect,
    "verify": _verify,
    "sample": _sample,
    "worker-pool": _worker_pool,
}


def _interrupted() -> int:
    print("Interrupted. Run the same command again to continue where it stopped.", file=sys.stderr)
    return interrupts.STATUS


def _failed(error: Exception) -> int:
    if _is_interrupt(error):
        return _interrupted()
    kind, text = _told(error)
    if kind not in errors.kinds() and (short := shortage.told(error)):
        kind, text = "ShortageError", short
    if kind:
        print(f"error: {text}", file=sys.stderr)
    else:
        logging.error("The job failed: this is a defect of Shardmill or of a library.", exc_info=error)
    return errors.kinds()[kind].exit_status if kind in errors.kinds() else FAILED


def _is_interrupt(error: Exception) -> bool:
    """Tells whether an error is Beam's, which wraps the interrupt of a stage.

    Its text then has a line that ends with the name of the interrupt. The same name inside a line is that of a file.
    """
    if isinstance(error, (errors.ShardmillError, OSError)):
        return False
    return re.search(r"^(?:[\w.]+: )*KeyboardInterrupt$", _plain(error), re.MULTILINE) is not None


def _told(error: Exception) -> tuple[str, str]:
    """Returns (kind, sentence) of an error that a user can act on.

    Both are "" for any other error.

    Beam wraps a stage's error in its own: a RuntimeError with the text, or a worker's traceback as text. The last line
    that names a known kind is the cause.
    """
    text = _plain(error)
    kind = type(error).__name__ if isinstance(error, errors.ShardmillError) else ""
    if kind == "EngineError" and error.__cause__ is not None:  # one of our errors, as text inside Java's, says more
        return _told_in(_plain(error.__cause__), errors.kinds()) or (kind, text)
    if kind:
        return kind, text
    if isinstance(error, OSError):
        return "OSError", ": ".join(str(part) for part in (error.filename, error.strerror or error) if part)
    return _told_in(text, (*errors.kinds(), *_SYSTEM)) or ("", "")


def _plain(error: BaseException) -> str:
    """Returns the error's text without the stages that Beam names in it."""
    return re.sub(r" \[while running '.*?'\]", "", str(error), flags=re.DOTALL).strip()


def _told_in(text: str, kinds: Collection[str]) -> tuple[str, str] | None:
    """Returns (kind, sentence) of the last error of these kinds in a text."""
    found: list[tuple[str, str]] = re.findall(rf"\b({'|'.join(kinds)}): (.+)", text)
    return found[-1] if found else None
