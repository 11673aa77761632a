"""Defines every error that a user can act on, in one tree.

ShardmillError                 exit status 1
  ConfigError                  2: an option or a combination of options is wrong
  ContractError                a dataset's contract.json is missing, damaged or of another version
    GraphError                 a graph in a file has something that this program does not run
  SourceError                  the input as a whole cannot be used
    LayoutError                2: it is not plain how a folder is read
    TableError                 2: it is not plain how a manifest is read
    NothingUsableError         3: not one image with a label can be read
  BalanceError                 2: the classes cannot be balanced as asked
  DuplicatesError              equal images, which --duplicates fail does not allow
  DataRejectedError            3: more inputs were rejected than --max-reject-rate allows
  IncompleteError              an input is not accounted for
  BusyError                    another process works in the same directory
  LedgerError                  a dataset's ledger is damaged
  StorageError                 a file cannot be read as an input (also an OSError)
  StoreError                   an object store refuses or fails (also an OSError)
  EngineError                  a Beam runner cannot be used or gave up the job
  VersionsError                a worker has other versions than the program that sent the job
  ShortageError                the system gives less memory, threads or temporary files than are needed

Errors that are not caused by a user's input are not here. They end in a traceback, because they are defects.
"""

from __future__ import annotations


class ShardmillError(Exception):
    """Says in one sentence what was expected, what was received, and what to do."""

    exit_status = 1  # of a program that this error ends


class ConfigError(ShardmillError, ValueError):
    """Says which option or combination of options is wrong.

    The message has the value that was received and the values that are allowed.
    """

    exit_status = 2


class ContractError(ShardmillError, ValueError):
    """Says that a dataset or its contract cannot be used, and what to do.

    It is missing, malformed, or contradicts itself.
    """


class GraphError(ContractError):
    """Says what in a graph from a file this program does not run.

    The message names the file, the operation and what to do.
    """


class SourceError(ShardmillError, ValueError):
    """Says why the input as a whole cannot be used.

    The message has what was expected and what was found.
    """


class LayoutError(SourceError):
    """Says why it is not plain how an input folder is read, and which options decide."""

    exit_status = 2


class TableError(SourceError):
    """Says why it is not plain how a manifest is read, and which options decide."""

    exit_status = 2


class NothingUsableError(SourceError):
    """Says why no image with a label can be read."""

    exit_status = 3


class BalanceError(ShardmillError, ValueError):
    """Says why these images cannot be balanced as requested."""

    exit_status = 2


class DuplicatesError(ShardmillError, ValueError):
    """Says that there are equal images, which `--duplicates fail` does not allow.

    The message has some of them.
    """


class DataRejectedError(ShardmillError):
    """Says that more was rejected than `--max-reject-rate` allows.

    Nothing was published.
    """

    exit_status = 3


class IncompleteError(ShardmillError, RuntimeError):
    """Says that the job ended without some of its results.

    Nothing was published.
    """


class BusyError(ShardmillError, RuntimeError):
    """Says that another run works in the same output directory."""


class LedgerError(ShardmillError, ValueError):
    """Says which line of a ledger is not as the pipeline writes it.

    The message begins with the file's name.
    """


class StorageError(ShardmillError, OSError):
    """Says why a file cannot be used as an input; `reason` is a short stable word."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


class StoreError(ShardmillError, OSError):
    """Says why an object store refuses or fails, and what to do."""


class EngineError(ShardmillError, RuntimeError):
    """Says that a Beam runner cannot be used, or that it gave up the job.

    Nothing was published.
    """


class VersionsError(ShardmillError, RuntimeError):
    """Says how a worker differs from the program that sent the job."""


class ShortageError(ShardmillError, RuntimeError):
    """Says what the system has too little of, and what to do."""


def kinds() -> dict[str, type[ShardmillError]]:
    """Returns every kind of ShardmillError that is loaded, by the name of its class.

    A Beam runner passes on the text of an error and not its type. The text contains the name.
    """
    found: dict[str, type[ShardmillError]] = {}
    waiting: list[type[ShardmillError]] = [ShardmillError]
    while waiting:
        kind = waiting.pop()
        found[kind.__name__] = kind
        waiting.extend(kind.__subclasses__())
    return found
