"""Finds out how an input folder is to be read.

The names of its folders and the numbers of images in them say it. It decides only where one reading is plain.
Otherwise it refuses with the readings that are possible and the options that choose between them.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Collection, Sequence

from pipelines.core.elements import TRAIN_SPLIT
from pipelines.core.errors import LayoutError
from pipelines.core.text import listed, plural
from pipelines.inputs import array_files
from pipelines.inputs.layouts import annotation_folders, class_level
from pipelines.inputs.layouts import layout_question as question
from pipelines.inputs.layouts.class_level import UNLABELLED, unwrapped
from pipelines.inputs.layouts.folder_tree import Folder
from pipelines.inputs.layouts.layout import LABEL_RULES, Aside, Layout
from pipelines.inputs.layouts.layout_question import AS_CLASSES, NAMED, TABLE
from pipelines.inputs.layouts.split_names import split_of, splits_among
from pipelines.inputs.rules import InputSpec

_NO_LABELS = "It holds images in no class folders, so they have no labels."
Splits = Sequence[tuple[Folder, str]]  # the folder that holds a split's class folders, and the split


def find(root: Folder, spec: InputSpec) -> Layout:
    """Returns how the folders below an input are read.

    Args:
      root: the tree of the input.
      spec: its options `layout`, `split_names` and `label_from` decide what they name; the rest is found out.

    Raises:
      LayoutError: there are several readings, or none. The message names them and the option that decides.
    """
    return _Finder(root, spec).find()


class _Finder:
    def __init__(self, root: Folder, spec: InputSpec) -> None:
        self._root = root
        self._path = spec.path
        self._spec = spec
        self._asks = spec.label_from == "auto"  # whether the level of the classes is to be found out
        self._rule = "top" if self._asks else spec.label_from
        self._pattern = self._rule not in LABEL_RULES

    def find(self) -> Layout:
        if self._spec.split_names:
            return self._stated_splits()
        if self._spec.layout == "class":
            return Layout(label_from=self._rule)
        if self._spec.layout == "split":
            return Layout(tuple((name, split_of(name) or name) for name in sorted(self._root.folders)), self._rule)
        base = unwrapped(self._root, ())
        if self._asks:
            self._refuse_annotations(self._root)
            self._refuse_annotations(base)
        names = splits_among(folder.name for folder in base.with_images)
        layout = self._split_layout(base, names) if names else None
        return layout or self._class_layout(base)

    def _made(self, splits: Splits, aside: Sequence[Aside] = ()) -> Layout:
        """Returns the layout of these splits, if their class folders are plain."""
        if self._asks:
            class_level.check([folder for folder, _ in splits], self._path, self._root)
        return Layout(tuple((folder.path, split) for folder, split in splits), self._rule, tuple(aside))

    # ---- splits

    def _stated_splits(self) -> Layout:
        """Returns the layout of --split-names."""
        found = []
        for name, split in self._spec.split_names:
            wanted = name.strip("/")
            matching = [f for f in self._root.tree() if f.path and wanted in (f.path, f.name)]
            exact = [f for f in matching if f.path == wanted] or _outermost(matching)
            if len(exact) != 1:
                have = listed((f.path for f in self._root.with_images), NAMED) or "none"
                what = f"{len(exact)} folders are" if exact else "no folder is"
                raise LayoutError(
                    f"--split-names names {name!r}, and {what} called so below {self._path!r}. Write its path below "
                    f"the input. The folders with images are: {have}."
                )
            found.append((exact[0], split))
        return self._made(_inner_of(found))

    def _split_layout(self, base: Folder, names: dict[str, str]) -> Layout | None:
        """Returns the layout of folders of splits.

        None: the folders that are named like splits are classes.
        """
        others = [folder for folder in base.with_images if folder.name not in names]
        inner = _inner_of([(base.folders[name], split) for name, split in sorted(names.items())])
        flat = [(f, split) for f, split in inner if self._is_flat(f)]
        labelled = [(f, split) for f, split in inner if not self._is_flat(f)]
        self._refuse_splits_apart(inner, others)
        if not labelled:
            if others and len(flat) == 1 and all(not folder.with_images for folder in others):
                return None  # one class of many is called like a split
            self._refuse_flat_splits(base, flat)
        self._refuse_two_folders_of_a_split(inner)
        self._refuse_flat_train(flat)
        aside = [Aside(folder.path, _NO_LABELS) for folder, _ in flat]
        return self._made(labelled, [*aside, *self._beside_splits(others, labelled)])

    def _refuse_splits_apart(self, inner: Splits, others: Sequence[Folder]) -> None:
        """Refuses splits of which some are in another folder."""
        for folder in others:
            other = unwrapped(folder, ())
            names = splits_among(f.name for f in other.with_images)
            if not names:
                continue
            within = _inner_of([(other.folders[name], split) for name, split in sorted(names.items())])
            choices = [
                question.leave_out([folder]),
                f"read the inner ones alone with {question.below(self._path, other)}",
            ]
            what = "There are two competing roots of splits: "
            if not {split for _, split in within} & {split for _, split in inner}:
                together = [(f.path, split) for f, split in (*within, *inner) if not self._is_flat(f)]
                choices.insert(0, f"read them together with {question.split_names(together)}")
                what = "The splits are in several places: "
            raise self._ask(
                f"{what}{listed((f.path for f, _ in inner), NAMED)}, and {listed((f.path for f, _ in within), NAMED)}.",
                *choices,
            )

    def _refuse_flat_splits(self, base: Folder, flat: Splits) -> None:
        """Refuses folders that are named like splits and hold images in no class folders."""
        named = listed((question.told(f) for f, _ in flat), NAMED)
        folders = [f for f, _ in flat]
        choices = question.from_names(self._path, folders, entered=False)
        train = next((f for f, split in flat if split == "train"), folders[0])
        if choices:
            alone = question.below(self._path, train)
            choices[0] += f" (and with {alone}, if new splits are to be drawn of {train.path} alone)"
        choices.append(TABLE)
        if len(base.with_images) > 1:
            choices.append(AS_CLASSES)
        raise self._ask(f"{named}: named like splits, and without class folders in them.", *choices)

    def _refuse_two_folders_of_a_split(self, inner: Splits) -> None:
        by_split: dict[str, list[Folder]] = {}
        for folder, split in inner:
            by_split.setdefault(split, []).append(folder)
        for split, folders in by_split.items():
            if len(folders) > 1:
                raise self._ask(
                    f"{listed((question.told(f) for f in folders), NAMED)} are all named like the split {split}.",
                    *(
                        f"read {f.path} with {question.exclude([o for o in folders if o is not f])}"
                        for f in folders[:3]
                    ),
                )

    def _refuse_flat_train(self, flat: Splits) -> None:
        """Refuses images without labels, but for those of a test set."""
        for folder, split in flat:
            if split != "test":
                choices = [TABLE, *question.from_names(self._path, [folder], entered=True)]
                if split != "train":
                    choices.insert(0, question.leave_out([folder]))
                    choices.insert(0, question.label_list(folder, split, self._root))
                raise self._ask(
                    f"{question.told(folder)} is named like the split {split}, and its images are in no class folders.",
                    *choices,
                )

    def _beside_splits(self, others: Sequence[Folder], splits: Splits) -> list[Aside]:
        """Returns why the folders beside those of splits are left aside."""
        asked = []
        for folder in others:
            words = {word.lower() for word in re.findall(r"[A-Za-z]+", folder.name)}
            if not (self._is_flat(unwrapped(folder, ())) and words & UNLABELLED):
                asked.append(folder)
        if asked:
            classes = {below.name for f, _ in splits for below in f.with_images}
            inner = [unwrapped(folder, classes) for folder in asked]
            same = any({f.name for f in folder.with_images} & classes for folder in inner)
            flat = all(self._is_flat(folder) for folder in inner)
            what = "images in no class folders" if flat else "the same classes" if same else "other classes"
            choices = [question.leave_out(asked)]
            if not flat:
                named = [(f.path, split) for f, split in splits]
                choices.append(
                    f"name the split that it is, in the place of NAME, with "
                    f"{question.split_names([*named, *((f.path, 'NAME') for f in asked)])}"
                )
            raise self._ask(
                f"Beside the splits {', '.join(f'{f.path} ({split})' for f, split in splits)} there is "
                f"{listed((question.told(f) for f in asked), NAMED)} with {what}.",
                *choices,
                "read all of them as classes with --layout class",
            )
        return [Aside(folder.path, _NO_LABELS) for folder in others]

    def _is_flat(self, folder: Folder) -> bool:
        """Tells whether the images of a folder are in no class folders."""
        return not self._pattern and (not folder.with_images or folder.images > folder.total - folder.images)

    # ---- classes

    def _class_layout(self, base: Folder) -> Layout:
        if self._pattern or not base.total:  # of an empty input the listing says that nothing can be used
            return Layout(((base.path, ""),), self._rule)
        if self._is_flat(base):
            self._refuse_flat(base)
        if self._asks:
            self._refuse_splits_inside(base)
            self._refuse_splits_in_names(base)
        return self._made([(base, "")])

    def _refuse_flat(self, base: Folder) -> None:
        self._refuse_arrays(base)
        inside = f"{plural(base.images, 'image')} {'are' if base.images > 1 else 'is'} in no class folder"
        choices = question.from_names(self._path, [base], entered=False)
        if not base.path:
            above = posixpath.dirname(self._path.rstrip("/")) or ".."
            choices.append(f"if this folder is one class, give the folder above it: --input {shlex.quote(above)}")
        else:
            choices.append("read them as one class with --layout class")
        raise self._ask(f"{inside}, but directly in {base.path or self._path!r}.", *choices, TABLE)

    def _refuse_arrays(self, base: Folder) -> None:
        """Refuses files without an ending that are no images.

        CIFAR-10 has such pickles.
        """
        names = [name for name in base.names if not posixpath.splitext(name)[1]]
        said = array_files.first_of(posixpath.join(self._path, base.path), names)
        if said and 2 * len(names) >= len(base.names):
            raise LayoutError(f"{posixpath.join(self._path, base.path, names[0])!r} is no image. {said}")

    def _refuse_splits_inside(self, base: Folder) -> None:
        """Refuses splits that are below folders that look like classes."""
        classes = base.with_images
        holders = []
        for folder in classes:
            inner = unwrapped(folder, ())
            names = splits_among(f.name for f in inner.with_images)
            if "train" in names.values():
                holders.append((folder, inner, names))
        if not holders:
            return
        folder, inner, names = holders[0]
        words = listed(sorted(names), NAMED)
        labelled = any(f.with_images for f in inner.with_images)
        if len(holders) == len(classes) > 1 and not labelled:
            splits = "|".join(re.escape(name) for name in sorted({name for *_, n in holders for name in n}))
            raise self._ask(
                f"The splits {words} are below the classes {question.names_of(classes)}.",
                f"take both from the path: --label-from '(?P<label>[^/]+)/(?P<split>{splits})/'",
                "read all images of a class as one, and draw new splits, with --label-from top",
            )
        beside = listed((f.path for f in classes if f is not folder), NAMED)
        raise self._ask(
            f"{folder.path} holds splits ({words})" + (f", and {beside} is beside it." if beside else "."),
            *(f"read the splits in {f.path} with {question.below(self._path, i)}" for f, i, _ in holders[:4]),
            *([question.leave_out([f for f, *_ in holders])] if len(holders) < len(classes) else []),
            AS_CLASSES,
        )

    def _refuse_splits_in_names(self, base: Folder) -> None:
        """Refuses class folders with files such as train_1.jpg and test_1.jpg."""
        names = [name for folder in base.tree() for name in folder.names]
        words = [found[0] for name in names if (found := re.match("[A-Za-z]+", name)) and split_of(found[0])]
        splits = splits_among(sorted(set(words)))
        if len(set(splits.values())) < 2 or TRAIN_SPLIT not in splits.values() or 2 * len(words) <= len(names):
            return
        pattern = f"^(?P<label>[^/]+)/(?:.*/)?(?P<split>{'|'.join(sorted(splits))})[^/]*$"
        raise self._ask(
            f"The names of files begin like splits: {listed(sorted(splits), NAMED)}.",
            f"take them from the names with --label-from {shlex.quote(pattern)}",
            "draw new splits of all images with --label-from top",
        )

    # ---- what is no classification

    def _refuse_annotations(self, folder: Folder) -> None:
        found = annotation_folders.find(folder)
        if found is None:
            return
        choices = question.from_names(self._path, [found.images], entered=True)
        if found.images.with_images:
            choices.append(f"read the folders in {found.images.path} with {question.below(self._path, found.images)}")
        siblings = [f for f in self._root.tree() if f.name == found.beside.name and (f.total or f.others)]
        if len(siblings) > 1:
            name = shlex.quote(found.beside.name)
            choices.append(f"if the folders above {found.images.name} are the classes, add --exclude {name}")
        raise self._ask(
            f"This is a {found.task} layout: {found.beside.path} holds what belongs to the images in "
            f"{found.images.path}.",
            *choices,
            TABLE,
        )

    def _ask(self, what: str, *choices: str) -> LayoutError:
        return question.ask(self._path, what, choices, self._root)


def _inner_of(splits: Splits) -> list[tuple[Folder, str]]:
    """Returns the folders that hold the class folders of splits.

    Wrappers around them are entered.
    """
    train = next((folder for folder, split in splits if split == "train"), None)
    classes: Collection[str] = {f.name for f in unwrapped(train, ()).with_images} if train is not None else ()
    return [(unwrapped(folder, classes), split) for folder, split in splits]


def _outermost(folders: Sequence[Folder]) -> list[Folder]:
    """Leaves out the folders that are below another one of them."""
    return [f for f in folders if not any(f.path.startswith(f"{other.path}/") for other in folders)]
