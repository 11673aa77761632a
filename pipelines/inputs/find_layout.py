"""Finds out how an input folder is to be read.

The names of its folders and the numbers of images in them say it. It decides only where one reading is plain.
Otherwise it refuses with the readings that are possible and the options that choose between them.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Collection, Sequence

from pipelines.core.errors import LayoutError
from pipelines.core.text import listed, plural
from pipelines.inputs import annotation_folders
from pipelines.inputs.annotation_folders import GENERIC
from pipelines.inputs.folder_tree import Folder
from pipelines.inputs.layout import Aside, Layout
from pipelines.inputs.rules import InputSpec
from pipelines.inputs.split_names import split_of, splits_among

NAMED = 5  # folders that a message names
# Names of folders with images that are there to be predicted.
_UNLABELLED = frozenset({
    "infer", "inference", "pred", "predict", "prediction", "predictions", "submission", "unknown", "unlabeled",
    "unlabelled", "unsupervised", "unsup",
})  # fmt: skip
_PARTS = frozenset({"batch", "chunk", "data", "folder", "image", "images", "img", "imgs", "part", "parts", "shard"})


def find(root: Folder, spec: InputSpec) -> Layout:
    """Returns how the folders below an input are read.

    Args:
      root: the tree of the input.
      spec: its options `layout`, `split_names` and `label_from` decide what they name; the rest is found out.

    Raises:
      LayoutError: there are several readings, or none. The message names them and the option that decides.
    """
    return _Finder(spec).find(root)


class _Finder:
    def __init__(self, spec: InputSpec) -> None:
        self._input = spec.path
        self._spec = spec
        self._rule = "top" if spec.label_from == "auto" else spec.label_from
        self._rule_is_given = spec.label_from != "auto"

    def find(self, root: Folder) -> Layout:
        if self._spec.split_names:
            return self._stated_splits(root)
        if self._spec.layout == "class":
            return Layout(label_from=self._rule)
        if self._spec.layout == "split":
            tops = sorted(root.folders)
            return Layout(tuple((name, split_of(name) or name) for name in tops), self._rule)
        base = _unwrapped(root, ())
        for folder in {id(f): f for f in (root, base)}.values():
            self._refuse_annotations(folder)
        names = splits_among(folder.name for folder in base.with_images)
        if names:
            layout = self._split_layout(base, names)
            if layout is not None:
                return layout
        return self._class_layout(base)

    # ---- splits

    def _stated_splits(self, root: Folder) -> Layout:
        """Returns the layout of --split-names."""
        found = []
        for name, split in self._spec.split_names:
            matching = [f for f in root.tree() if name.strip("/") in (f.path, f.name) and f.path]
            exact = [f for f in matching if f.path == name.strip("/")] or _outermost(matching)
            if len(exact) != 1:
                have = listed((f.path for f in root.with_images), NAMED) or "none"
                what = f"{len(exact)} folders are" if exact else "no folder is"
                raise LayoutError(
                    f"--split-names names {name!r}, and {what} called so below {self._input!r}. Write its path below "
                    f"the input. The folders with images are: {have}."
                )
            found.append((exact[0], split))
        inner = self._inner_of(found)
        return Layout(tuple((f.path, split) for f, split in inner), self._label_rule([f for f, _ in inner]))

    def _split_layout(self, base: Folder, names: dict[str, str]) -> Layout | None:
        """Returns the layout of folders of splits.

        None: the folders that are named like splits are classes.
        """
        others = [folder for folder in base.with_images if folder.name not in names]
        inner = self._inner_of([(base.folders[name], split) for name, split in sorted(names.items())])
        flat = [(f, split) for f, split in inner if self._is_flat(f)]
        labelled = [(f, split) for f, split in inner if (f, split) not in flat]
        if not labelled:
            self._refuse_flat_splits(base, others, flat)
            return None
        self._refuse_two_folders_of_a_split(inner)
        aside = []
        for folder, split in flat:
            if split != "test":
                raise self._refusal(
                    f"{_told(folder)} is named like the split {split}, and its images are in no class folders.",
                    f"leave it out with --exclude {shlex.quote(folder.path)}",
                    "list its images with their labels in a table and give that as --input",
                    base=folder,
                )
            aside.append(Aside(folder.path, "It holds images in no class folders, so they have no labels."))
        classes = {below.name for f, _ in labelled for below in f.with_images}
        for folder in others:
            aside.append(self._beside_splits(folder, labelled, classes))
        return Layout(
            tuple((f.path, split) for f, split in labelled), self._label_rule([f for f, _ in labelled]), tuple(aside)
        )

    def _refuse_flat_splits(self, base: Folder, others: Sequence[Folder], flat: Sequence[tuple[Folder, str]]) -> None:
        """Refuses folders that are named like splits and hold images in no class folders.

        Where one such folder stands among others of the same form, they are taken for classes.
        """
        if others and len(flat) == 1 and all(not folder.with_images for folder in others):
            return
        named = listed((_told(f) for f, _ in flat), NAMED)
        choices = [
            "take the labels from the paths with --label-from and a regular expression, such as "
            "--label-from '([a-z]+)[^/]*$' for cat.1.jpg; if new splits are to be drawn, with "
            f"--input {shlex.quote(self._below(flat[0][0]))}",
            "give a table with the columns path and label as --input",
        ]
        if len(base.with_images) > 1:
            choices.append("read these folders as classes with --layout class")
        raise self._refusal(f"{named}: named like splits, and without class folders in them.", *choices, base=base)

    def _refuse_two_folders_of_a_split(self, inner: Sequence[tuple[Folder, str]]) -> None:
        by_split: dict[str, list[Folder]] = {}
        for folder, split in inner:
            by_split.setdefault(split, []).append(folder)
        for split, folders in by_split.items():
            if len(folders) > 1:
                raise self._refusal(
                    f"{listed((_told(f) for f in folders), NAMED)} are all named like the split {split}.",
                    *(f"leave {f.path} out with --exclude {shlex.quote(f.path)}" for f in folders[:2]),
                    "name the folder of each split: "
                    f"--split-names {folders[0].path}=train,{folders[1].path}=validation",
                )

    def _beside_splits(self, folder: Folder, splits: Sequence[tuple[Folder, str]], classes: Collection[str]) -> Aside:
        """Returns why a folder beside those of splits is left aside."""
        inner = _unwrapped(folder, classes)
        competing = splits_among(f.name for f in inner.with_images)
        words = {word.lower() for word in re.findall(r"[A-Za-z]+", folder.name)}
        if self._is_flat(inner) and words & _UNLABELLED and not competing:
            return Aside(folder.path, "It holds images in no class folders, so they have no labels.")
        read = ", ".join(f"{f.path} ({split})" for f, split in splits)
        leave_out = f"leave {folder.path} out with --exclude {shlex.quote(folder.path)}"
        if competing:
            raise self._refusal(
                f"There are two competing roots of splits: {listed((f.path for f, _ in splits), NAMED)}, and "
                f"{listed((f.path for f in inner.with_images), NAMED)}.",
                leave_out,
                f"read the inner ones alone with --input {shlex.quote(self._below(inner))}",
            )
        shown = "the same classes" if {f.name for f in inner.with_images} & set(classes) else "no split's name"
        what = "images in no class folders" if self._is_flat(inner) else shown
        raise self._refusal(
            f"Beside the splits {read} there is {_told(folder)} with {what}.",
            leave_out,
            f"name the split that it is: --split-names {','.join(f'{f.path}={s}' for f, s in splits)},"
            f"{folder.path}=NAME",
            "read all of them as classes with --layout class",
        )

    def _inner_of(self, splits: Sequence[tuple[Folder, str]]) -> list[tuple[Folder, str]]:
        """Returns the folders that hold the class folders of splits.

        Wrappers around them are entered.
        """
        train = next((f for f, split in splits if split == "train"), None)
        classes = {f.name for f in _unwrapped(train, ()).with_images} if train is not None else set()
        return [(_unwrapped(folder, classes), split) for folder, split in splits]

    def _is_flat(self, folder: Folder) -> bool:
        """Tells whether the images of a folder are in no class folders."""
        return not self._pattern and (not folder.with_images or folder.images > folder.total - folder.images)

    @property
    def _pattern(self) -> bool:
        return self._rule not in ("top", "leaf", "parent", "path")

    # ---- classes

    def _class_layout(self, base: Folder) -> Layout:
        if self._pattern:
            return Layout(((base.path, ""),), self._rule)
        classes = base.with_images
        if not base.total:
            return Layout(((base.path, ""),), self._rule)  # the listing says that nothing can be used
        if self._is_flat(base):
            inside = f"{plural(base.images, 'image')} {'are' if base.images > 1 else 'is'} in no class folder"
            raise self._refusal(
                f"{inside}, but directly in {self._below(base)!r}.",
                "if this folder is one class, give the folder above it: "
                f"--input {shlex.quote(posixpath.dirname(self._below(base)) or '..')}",
                "if the file names hold the labels, take them with --label-from and a regular expression, such as "
                r"--label-from '([a-z]+)[^/]*$' for cat.1.jpg",
                "give a table with the columns path and label as --input",
                base=base,
            )
        for folder in classes:
            inner = _unwrapped(folder, ())
            names = splits_among(f.name for f in inner.with_images)
            if "train" in names.values():
                self._refuse_splits_inside(folder, inner, classes, names)
        self._refuse_parts(base, classes)
        return Layout(((base.path, ""),), self._label_rule([base]))

    def _refuse_splits_inside(
        self, folder: Folder, inner: Folder, classes: Sequence[Folder], names: Collection[str]
    ) -> None:
        if self._rule_is_given:
            return
        splits = listed(sorted(names), NAMED)
        if len(classes) > 1 and all(set(names) <= {f.name for f in c.with_images} for c in classes):
            raise self._refusal(
                f"The splits {splits} are below the classes {listed((c.name for c in classes), NAMED)}.",
                "take both from the path: --label-from '(?P<label>[^/]+)/(?P<split>[^/]+)/'",
                "read all images of a class as one, and draw new splits, with --label-from top",
            )
        beside = listed((f.path for f in classes if f is not folder), NAMED)
        raise self._refusal(
            f"{folder.path} holds splits ({splits})" + (f", and {beside} is beside it." if beside else "."),
            f"read those splits with --input {shlex.quote(self._below(inner))}",
            f"leave {folder.path} out with --exclude {shlex.quote(folder.path)}",
            "read the folders as classes with --layout class",
        )

    def _refuse_parts(self, base: Folder, classes: Sequence[Folder]) -> None:
        """Refuses parts of one collection, such as images_001 and images_002."""
        if self._rule_is_given or len(classes) < 1:
            return
        stems = {re.sub(r"\d+", "", folder.name).strip(" _-.") for folder in classes}
        words = {word.lower() for stem in stems for word in re.findall(r"[A-Za-z]+", stem)}
        numbered = len(stems) == 1 and len(classes) > 1 and bool(words & _PARTS)
        generic = all(folder.name.lower() in GENERIC for folder in classes)
        if numbered or generic:
            raise self._refusal(
                f"The folders {listed((f.path for f in classes), NAMED)} look like parts of one collection and not "
                "like classes.",
                "give a table with the columns path and label as --input",
                "take the labels from the paths with --label-from and a regular expression",
                "read these folders as classes with --layout class",
                base=base,
            )

    def _label_rule(self, levels: Sequence[Folder]) -> str:
        """Returns which part of the path is the label.

        It is not plain where class folders hold folders themselves.
        """
        if self._rule_is_given:
            return self._rule
        tops = [top for level in levels for top in level.with_images]
        deep = [top for top in tops if top.with_images and not top.images]
        if len(deep) < len(tops) or all(len(top.with_images) == 1 for top in tops):
            return "top"
        parents: dict[str, set[str]] = {}
        for top in tops:
            for below in top.with_images:
                parents.setdefault(below.name, set()).add(top.name)
        names = list(parents)
        ids = sum(bool(re.search(r"\d", name)) or name.lower() in GENERIC for name in names)
        if 2 * ids > len(names):  # folders of a patient, a day, a camera
            return "top"
        of_tops, of_leaves = sorted({top.name for top in tops}), sorted(names)
        outer, inner = (plural(len(names), "class", "classes") for names in (of_tops, of_leaves))
        raise self._refusal(
            "The images are in folders two deep, and either may be the class.",
            f"--label-from top takes the outer folders, {outer}: {listed(of_tops, NAMED)}",
            f"--label-from leaf takes the folders that hold the images, {inner}: {listed(of_leaves, NAMED)}",
            f"--label-from path joins both, such as {tops[0].name}/{tops[0].with_images[0].name}",
        )

    # ---- what is no classification

    def _refuse_annotations(self, folder: Folder) -> None:
        found = None if self._pattern else annotation_folders.find(folder)
        if found is None:
            return
        choices = ["give a table with the columns path and label as --input"]
        if found.images.with_images:
            below = shlex.quote(self._below(found.images))
            choices.insert(0, f"read the folders in {found.images.path} with --input {below}")
        raise self._refusal(
            f"This is a {found.task} layout: {found.beside.path} holds what belongs to the images in "
            f"{found.images.path}, and no folder stands for a class.",
            *choices,
        )

    # ---- messages

    def _refusal(self, what: str, *choices: str, base: Folder | None = None) -> LayoutError:
        tables = [table for folder in (base,) if folder is not None for table in folder.tables]
        hint = f" A table is there: {', '.join(tables)}." if tables else ""
        ways = " ".join(f"({'abcdef'[i]}) {choice};" for i, choice in enumerate(choices))
        return LayoutError(f"How to read {self._input!r} is not plain. {what} Choose: {ways[:-1]}.{hint}")

    def _below(self, folder: Folder) -> str:
        return f"{self._input.rstrip('/')}/{folder.path}".rstrip("/")


def _unwrapped(folder: Folder, classes: Collection[str]) -> Folder:
    """Enters folders that hold nothing but one folder.

    It ends at the folder that holds the classes or the images. A folder is no wrapper if it has the name of a class or
    a split. A folder that leads to images alone may be the only class: it is entered only if it has the name of its
    folder, or one that says nothing, such as images.

    Args:
      classes: names of classes.
    """
    way = [folder]
    while not way[-1].images and len(way[-1].with_images) == 1:
        [only] = way[-1].with_images
        if only.name in classes or (split_of(only.name) and only.name != way[-1].name):
            break
        way.append(only)
    if len(way[-1].with_images) > 1 and not way[-1].images:
        return way[-1]
    end = 0
    while end + 1 < len(way) and (
        way[end + 1].name.lower() in GENERIC | _UNLABELLED or way[end + 1].name == way[end].name
    ):
        end += 1
    return way[end]


def _outermost(folders: Sequence[Folder]) -> list[Folder]:
    """Leaves out the folders that are below another one of them."""
    return [f for f in folders if not any(f.path.startswith(f"{other.path}/") for other in folders)]


def _told(folder: Folder) -> str:
    return f"{folder.path or 'the input'} ({plural(folder.total, 'image')})"
