"""Finds out which folders below a split or an input are the classes."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from pipelines.core.elements import TRAIN_SPLIT
from pipelines.core.text import listed, plural
from pipelines.inputs.layouts import layout_question as question
from pipelines.inputs.layouts.annotation_folders import GENERIC
from pipelines.inputs.layouts.folder_tree import Folder
from pipelines.inputs.layouts.layout import Layout
from pipelines.inputs.layouts.layout_question import AS_CLASSES, NAMED, TABLE
from pipelines.inputs.layouts.split_names import split_in, split_of

# Names of folders with images that have no labels.
UNLABELLED = frozenset({
    "infer", "inference", "pred", "predict", "prediction", "predictions", "submission", "unknown", "unlabeled",
    "unlabelled", "unsupervised", "unsup",
})  # fmt: skip
_NO_CLASS = UNLABELLED - {"unknown"}  # a class may be called unknown
_PARTS = frozenset({"batch", "chunk", "data", "folder", "image", "images", "img", "imgs", "part", "parts", "shard"})
_SUBJECTS = frozenset({
    "case", "exam", "participant", "patient", "person", "scan", "session", "study", "subject", "visit", "volunteer",
})  # fmt: skip
_CAMERA = re.compile(r"\d{3}[A-Z0-9_]{5}")  # DCIM/100CANON, by the standard of camera folders (DCF)
_YEAR = re.compile(r"[^\d]+(19|20)\d\d")
_MASK = re.compile(r"[ _-](mask|masks|seg|segmentation|label|gt)\d*(_\d+)?\.\w+$", re.IGNORECASE)
_BESIDE = re.compile(r"masks?|thumbs?|thumbnails?|segmentations?|depth|preview", re.IGNORECASE)
MASKS_FROM = 0.2  # share of the names of a folder that are those of masks


def check(levels: Sequence[Folder], path: str, root: Folder) -> None:
    """Checks that the folders in these levels are plainly the classes.

    Args:
      levels: the folders of the splits, or the one that holds the class folders.
      path: the input. root: its tree.

    Raises:
      LayoutError: other folders may be the classes, or there is only one class.
    """
    tops = [top for level in levels for top in level.with_images]
    for level in levels:
        _refuse_copies(level, path, root)
    _refuse_parts(tops, path, root)
    _refuse_inner_classes(levels, tops, path, root)
    _refuse_subjects(levels, tops, path, root)
    _refuse_collection(tops, path, root)
    _refuse_one_class(tops, path, root)
    _refuse_masks(tops, path, root)


def unwrapped(folder: Folder, classes: Collection[str]) -> Folder:
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
        way[end + 1].name.lower() in GENERIC | UNLABELLED or way[end + 1].name == way[end].name
    ):
        end += 1
    return way[end]


def _chain(folder: Folder) -> Folder:
    """Enters folders that hold nothing but one folder, whatever its name."""
    while not folder.images and len(folder.with_images) == 1:
        [folder] = folder.with_images
    return folder


def _refuse_copies(level: Folder, path: str, root: Folder) -> None:
    """Refuses a folder beside the classes that holds folders of their names."""
    classes = {folder.name for folder in level.with_images}
    for folder in level.with_images:
        inner = _chain(folder)
        same = {f.name for f in inner.with_images} & (classes - {folder.name})
        if same and 2 * len(same) >= len(inner.with_images):
            others = [f for f in level.with_images if f is not folder]
            raise question.ask(
                path,
                f"{question.told(folder)} holds folders with names of those beside it: {listed(sorted(same), NAMED)}.",
                [
                    question.leave_out([folder]),
                    f"read it alone with {question.below(path, inner)}",
                    f"read it as a class beside {question.names_of(others)} with --layout class",
                ],
                root,
            )


def _refuse_parts(tops: Sequence[Folder], path: str, root: Folder) -> None:
    """Refuses parts of one collection, such as images_001, and what has no label."""
    names = [top.name for top in tops]
    stems = {re.sub(r"\d+", "", name).strip(" _-.").lower() for name in names}
    words = {word for stem in stems for word in re.findall(r"[a-z]+", stem)}
    numbered = len(stems) == 1 and len(set(names)) > 1 and bool(words & _PARTS)
    generic = all(name.lower() in GENERIC for name in names)
    camera = all(_CAMERA.fullmatch(name) for name in names)
    years = len(stems) == 1 and len(set(names)) > 1 and all(_YEAR.fullmatch(name) for name in names)
    thousands = len(set(names)) > 1 and all(re.fullmatch(r"\d{4,}", name) and int(name) % 100 == 0 for name in names)
    if numbered or generic or camera or years or thousands:
        raise question.ask(
            path,
            f"The folders {listed(sorted(set(names)), NAMED)} look like parts of one collection and not like classes.",
            [*_from_leaves(tops), *_from_names(tops, path), TABLE, AS_CLASSES],
            root,
        )
    unlabelled = [top for top in tops if top.name.lower() in _NO_CLASS]
    if unlabelled and len(set(names)) > 1:
        raise question.ask(
            path,
            f"The name of {question.told(unlabelled[0])} says that its images have no labels.",
            [
                f"take them as a split of their own with --unlabelled {question.quoted(unlabelled[0])}",
                question.leave_out(unlabelled),
                "read it as a class with --layout class",
            ],
        )


def _refuse_inner_classes(levels: Sequence[Folder], tops: Sequence[Folder], path: str, root: Folder) -> None:
    """Refuses class folders whose own folders may be the classes."""
    above: dict[str, set[str]] = {}  # name of an inner folder -> names of the class folders that hold it
    several = False
    for top in tops:
        inner = [] if top.images else _chain(top).with_images
        several = several or len(inner) > 1
        for folder in inner:
            above.setdefault(folder.name, set()).add(top.name)
    repeated = [name for name, holders in above.items() if len(holders) > 1 and name.lower() not in GENERIC]
    are_inside = len({top.name for top in tops}) > 1 and not any(top.images for top in tops)
    are_numbers = are_inside and _are_class_numbers(above)
    if not several or (_are_ids(above) and len(repeated) < 2 and not are_numbers):
        return
    readings = {rule: _labels(levels, rule) for rule in ("top", "leaf", "path")}
    parents = _labels(levels, "parent")
    if parents not in readings.values() and len(parents) > 1:
        readings["parent"] = parents
    choices = [
        f"--label-from {rule} makes {plural(len(found), 'class', 'classes')}: {listed(found, NAMED)}"
        for rule, found in readings.items()
    ]
    if len(readings["leaf"]) < len(readings["path"]):
        choices[1] += ", each from several places"
    if splits := _splits_of(tops):
        choices.insert(0, f"read them as splits with {question.split_names(splits)}")
    elif guess := _splits_by_size(tops):
        choices.append(f"if the outer folders are splits, say which with, for example, {question.split_names(guess)}")
    beside = sorted(name for name in above if _BESIDE.fullmatch(name))
    if beside:
        choices.append(f"leave {listed(beside, NAMED)} out with --exclude {','.join(beside)}")
    if len(tops) > 1:
        likely = next((top for top in tops if top.name.lower() in GENERIC), max(tops, key=lambda top: top.total))
        choices.append(f"read one of the folders alone, such as {question.below(path, _chain(likely))}")
    raise question.ask(
        path, "The images are in folders below folders, and several levels may be the classes.", choices, root
    )


def _splits_of(tops: Sequence[Folder]) -> list[tuple[str, str]]:
    """Returns (folder, split) of folders of which one has no name of a split.

    It is then train: horse-or-human stands beside validation-horse-or-human. All should hold the same folders; those
    that hold none are left out.
    """
    inner = {top.path: {folder.name for folder in _chain(top).with_images} for top in tops}
    splits = [(top.path, split_in(top.name)) for top in tops if inner[top.path]]
    named = [split for _, split in splits if split]
    if len(splits) != len(named) + 1 or not named or TRAIN_SPLIT in named or len(set(named)) < len(named):
        return []
    if len({frozenset(inner[path]) for path, _ in splits}) > 1:
        return []
    return [(path, split or TRAIN_SPLIT) for path, split in splits]


def _splits_by_size(tops: Sequence[Folder]) -> list[tuple[str, str]]:
    """Returns (folder, split) of two or three folders that may be splits.

    They hold the same class folders. They may have names of another language, and only their sizes tell them apart.
    """
    inner = {frozenset(folder.name for folder in _chain(top).with_images) for top in tops}
    splits = {2: ("train", "test"), 3: ("train", "validation", "test")}.get(len(tops), ())
    if len(inner) > 1 or not splits:
        return []
    largest = sorted(tops, key=lambda top: (-top.total, top.path))
    return [(top.path, split) for top, split in zip(largest, splits, strict=True)]


def _are_ids(names: Collection[str]) -> bool:
    """Tells whether names are numbers of patients, days or cameras."""
    stems = {re.sub(r"\d+", "", name) for name in names}
    with_digits = sum(bool(re.search(r"\d", name)) or name.lower() in GENERIC for name in names)
    return 2 * with_digits > len(names) and len(stems) <= max(1, len(names) // 4)


def _are_class_numbers(names: Collection[str]) -> bool:
    """Tells whether names are numbers that may be ids of classes, and no years.

    iNaturalist has Birds/202 and Plants/5 for species. Another collection has such numbers for patients.
    """
    return all(name.isdecimal() for name in names) and not all(re.fullmatch("(19|20)[0-9]{2}", name) for name in names)


def _refuse_subjects(levels: Sequence[Folder], tops: Sequence[Folder], path: str, root: Folder) -> None:
    """Refuses folders of patients or other subjects, such as patient00001."""
    names = {top.name for top in tops}
    stems = {re.sub(r"[\d\s_.-]+", "", name).lower() for name in names}
    if len(names) < 2 or len(stems) != 1 or not stems & _SUBJECTS:
        return
    choices = [TABLE, "read these folders as classes with --layout class"]
    inner = _labels(levels, "leaf")
    if set(inner) != names and not _are_ids(inner):
        choices.insert(0, f"--label-from leaf makes {plural(len(inner), 'class', 'classes')}: {listed(inner, NAMED)}")
    raise question.ask(
        path,
        f"The folders {listed(sorted(names), NAMED)} are called like subjects of a study and not like classes.",
        choices,
        root,
    )


def _refuse_collection(tops: Sequence[Folder], path: str, root: Folder) -> None:
    """Refuses a folder such as Dataset that holds folders and is beside others.

    The others, such as Examples, may be no classes.
    """
    for top in tops:
        inner = _chain(top)
        if top.name.lower() in GENERIC and len(inner.with_images) > 1 and len({other.name for other in tops}) > 1:
            others = [other for other in tops if other is not top]
            raise question.ask(
                path,
                f"{question.told(top)} is called like a collection and holds folders, and "
                f"{question.names_of(others)} is beside it.",
                [
                    f"read it alone with {question.below(path, inner)}",
                    "the folder that holds an image is its class: --label-from leaf",
                    AS_CLASSES,
                ],
                root,
            )


def _from_leaves(tops: Sequence[Folder]) -> list[str]:
    """Returns the choice to take the innermost folders as classes, if there are some."""
    if any(top.images or len(_chain(top).with_images) < 2 for top in tops):
        return []
    found = _labels(tops, "leaf")
    return [f"--label-from leaf makes {plural(len(found), 'class', 'classes')}: {listed(found, NAMED)}"]


def _labels(levels: Iterable[Folder], rule: str) -> list[str]:
    """Returns the labels that a rule gives to the images below these folders."""
    labels: set[str] = set()
    for level in levels:
        layout = Layout(((level.path, ""),), rule)
        labels |= {layout.place(f"{f.path}/file").label for f in level.tree() if f.images and f is not level}
    return sorted(labels - {""})


def _refuse_one_class(tops: Sequence[Folder], path: str, root: Folder) -> None:
    """Refuses one folder of images, if the input shows that its labels are elsewhere.

    They may be in a table, in files beside the images, or in names: the folder is below others then.
    """
    if len({top.name for top in tops}) != 1:
        return
    inner = _chain(tops[0])
    beside = sum(root.others[ending] for ending in (".txt", ".xml", ".json", ".mat"))
    tables = any(folder.tables for folder in root.tree())
    if inner is tops[0] and not tables and 2 * beside < root.total:
        return
    raise question.ask(
        path,
        f"All images are in {question.told(tops[0])}: this is one class, and no classifier can be trained on it.",
        [*_from_names([inner], path), TABLE, "read it as one class with --layout class"],
        root,
    )


def _refuse_masks(tops: Sequence[Folder], path: str, root: Folder) -> None:
    for top in tops:
        masks = [name for name in top.names if _MASK.search(name)]
        if len(masks) >= MASKS_FROM * len(top.names) > 0 and len(masks) < len(top.names):
            found = _MASK.search(masks[0])
            word = found[1] if found else ""
            raise question.ask(
                path,
                f"Some files in {top.path} are named like masks of others, such as {masks[0]!r}.",
                [f"leave them out with --exclude '*{word}*'", "read them as images with --layout class"],
            )


def _from_names(folders: Sequence[Folder], path: str) -> list[str]:
    inner = [_chain(folder) for folder in folders]
    return question.from_names(path, inner, entered=True) if len(inner) == 1 else []
