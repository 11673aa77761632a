"""Recognizes detection and segmentation, which state no class of an image.

They put boxes or masks into a folder beside the images.
"""

from __future__ import annotations

from typing import NamedTuple

from pipelines.inputs.layouts.folder_tree import TABLE_ENDINGS, Folder
from pipelines.inputs.layouts.split_names import split_of

# Names of folders that say only that there are pictures in them.
GENERIC = frozenset({
    "all", "data", "dataset", "files", "image", "images", "img", "imgs", "jpegimages", "jpegs", "jpg", "photos", "pics",
    "pictures", "png", "raw",
})  # fmt: skip
_ANNOTATIONS = frozenset({"annotation", "annotations", "bboxes", "boxes", "label", "labels", "labels_with_ids"})
_MASKS = frozenset({
    "annotations", "ground_truth", "groundtruth", "gt", "labels", "mask", "masks", "segmentation", "segmentationclass",
    "segmentationobject", "segmentations", "trimaps",
})  # fmt: skip


class Annotated(NamedTuple):
    """Describes a folder of images and the folder beside it that belongs to them.

    task: "detection" or "segmentation".
    """

    task: str
    images: Folder
    beside: Folder


def find(folder: Folder) -> Annotated | None:
    """Returns what is annotated in a folder or in one directly below it.

    None: nothing is.

    Example:
      >>> from pipelines.inputs.layouts import folder_tree
      >>> find(folder_tree.build([("train/images/1.jpg", None), ("train/labels/1.txt", None)])).task
      'detection'
    """
    for level in (folder, *folder.folders.values()):
        below = {name.lower(): inner for name, inner in level.folders.items()}
        images = [inner for name, inner in below.items() if name in GENERIC and inner.total]
        boxes = [inner for name, inner in below.items() if name in _ANNOTATIONS and _has_annotations(inner)]
        masks = [inner for name, inner in below.items() if name in _MASKS and inner.total]
        if not images or not {f.name for f in level.with_images} <= {f.name for f in (*images, *masks)}:
            continue
        if masks:
            return Annotated("segmentation", images[0], masks[0])
        if boxes and _states_no_class(images[0]):
            return Annotated("detection", images[0], boxes[0])
    return None


def _has_annotations(folder: Folder) -> bool:
    """Tells whether a folder holds other files than images and tables."""
    tables = sum(folder.others[ending] for ending in TABLE_ENDINGS)
    return not folder.total and folder.others.total() > tables


def _states_no_class(images: Folder) -> bool:
    """Tells whether a folder holds images alone, or splits that do."""
    return all(split_of(inner.name) and not inner.with_images for inner in images.with_images)
