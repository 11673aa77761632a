"""Makes a folder of classes that are all as large unbalanced, by links: every Nth picture of the last class is kept.

python examples/story/imbalance.py PHOTOS OUT --ratio 9

prints the folder to use: OUT, which holds links into PHOTOS; or PHOTOS itself, where its largest class is at least
twice its smallest one: it is unbalanced as it is.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(description="Make a balanced folder of classes unbalanced, by links.")
    parser.add_argument("photos", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--ratio", type=int, default=9, help="pictures of others to one of the last class (default: 9)")
    args = parser.parse_args()
    if not args.photos.is_dir():
        print(f"There is no folder {str(args.photos)!r}.", file=sys.stderr)
        return 1
    classes = {folder: pictures(folder) for folder in sorted(args.photos.iterdir()) if folder.is_dir()}
    counts = [len(files) for files in classes.values()]
    if len(counts) < 2 or max(counts) >= 2 * min(counts):  # unbalanced as it is
        print(args.photos)
        return 0
    link(classes, args.out, args.ratio)
    print(args.out)
    return 0


def pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))


def link(classes: dict[Path, list[Path]], out: Path, ratio: int) -> None:
    """Links to all files of each class but the last, and to every `ratio`th of that one."""
    if out.exists():
        if any(path.is_file() and not path.is_symlink() for path in out.rglob("*")):
            sys.exit(f"{str(out)!r} holds files that are not links: name another folder.")
        shutil.rmtree(out)
    for folder, files in classes.items():
        (out / folder.name).mkdir(parents=True)
        for file in files[:: ratio if folder == max(classes) else 1]:
            (out / folder.name / "-".join(file.relative_to(folder).parts)).symlink_to(file.resolve())


if __name__ == "__main__":
    sys.exit(main())
