"""Reads the history of a past training: the value of each metric after each epoch."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainer.config import TrainerError

History = Mapping[str, tuple[float, ...]]
MAX_BYTES = 64 << 20


def read(path: str) -> History:
    """Reads metric name -> values in the order of the epochs, from CSV or JSON.

    CSV needs a header. JSON is an object of lists or a list of objects. Columns that are not numeric are left out.

    Raises:
      TrainerError: the file cannot be read or has no numeric column.
    """
    try:
        if Path(path).stat().st_size > MAX_BYTES:
            raise ValueError(f"it is larger than {MAX_BYTES >> 20} MiB")
        text = Path(path).read_text(encoding="utf-8")
        rows = json.loads(text) if text.lstrip().startswith(("{", "[")) else list(csv.DictReader(text.splitlines()))
        if isinstance(rows, dict):
            rows = rows.get("history", rows)  # the file holds History.history, or an object with it as "history"
        found = _columns(rows if isinstance(rows, list) else _as_rows(rows))
    except (OSError, ValueError, TypeError, AttributeError, csv.Error) as e:
        raise TrainerError(f"--history {path!r} cannot be read ({type(e).__name__}: {e}). {_EXPECTED}") from e
    if not found:
        raise TrainerError(f"--history {path!r} holds no numbers by epoch. {_EXPECTED}")
    return found


_EXPECTED = "Give metrics.csv of a run, the file of keras.callbacks.CSVLogger, or json.dump(history.history, file)."


def _as_rows(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    lists = {name: values for name, values in columns.items() if isinstance(values, list)}
    length = max(map(len, lists.values()), default=0)
    return [{name: values[i] for name, values in lists.items() if i < len(values)} for i in range(length)]


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple[float, ...]]:
    names = dict.fromkeys(name for row in rows for name in row if name is not None)
    columns = {name: [_number(row.get(name)) for row in rows] for name in names}
    return {
        name: tuple(value for value in values if value is not None)
        for name, values in columns.items()
        if name != "epoch" and all(value is not None for value in values)
    }


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
