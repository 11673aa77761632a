"""Chooses size and normalization for a network of `keras.applications`.

They are those of the images that its published weights were trained on. A network whose weights want another
normalization than `prepare` has gets 0..255, and the trainer makes its pixels of these in a layer at the input.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

from pipelines.core.errors import ConfigError
from pipelines.options import option_syntax

_log = logging.getLogger(__name__)

HELP = (
    "network of keras.applications, such as MobileNetV2, whose --size and --normalize to take, unless they are given; "
    "it says what it sets (default: no network)"
)


class Wanted(NamedTuple):
    """Says what images a network was trained on.

    side: in pixels. normalize: the value of --normalize.
    """

    side: int
    normalize: str


# By the beginning of the network's name; the first match counts. The sides are the default input shapes of Keras 3.15.
NETWORKS = {
    "ResNet50V2": Wanted(224, "symmetric"),
    "ResNet101V2": Wanted(224, "symmetric"),
    "ResNet152V2": Wanted(224, "symmetric"),
    "ResNet": Wanted(224, "none"),  # blue, green and red minus means
    "VGG": Wanted(224, "none"),
    "DenseNet": Wanted(224, "imagenet"),
    "EfficientNetV2B0": Wanted(224, "imagenet"),
    "EfficientNetV2B1": Wanted(240, "imagenet"),
    "EfficientNetV2B2": Wanted(260, "imagenet"),
    "EfficientNetV2B3": Wanted(300, "imagenet"),
    "EfficientNetV2S": Wanted(384, "none"),
    "EfficientNetV2M": Wanted(480, "none"),
    "EfficientNetV2L": Wanted(480, "none"),
    "EfficientNetB0": Wanted(224, "none"),
    "EfficientNetB1": Wanted(240, "none"),
    "EfficientNetB2": Wanted(260, "none"),
    "EfficientNetB3": Wanted(300, "none"),
    "EfficientNetB4": Wanted(380, "none"),
    "EfficientNetB5": Wanted(456, "none"),
    "EfficientNetB6": Wanted(528, "none"),
    "EfficientNetB7": Wanted(600, "none"),
    "ConvNeXt": Wanted(224, "imagenet"),
    "InceptionV3": Wanted(299, "symmetric"),
    "InceptionResNetV2": Wanted(299, "symmetric"),
    "Xception": Wanted(299, "symmetric"),
    "MobileNet": Wanted(224, "symmetric"),
    "NASNetLarge": Wanted(331, "symmetric"),
    "NASNetMobile": Wanted(224, "symmetric"),
}


def filled(given: Mapping[str, Any], network: str) -> dict[str, Any]:
    """Returns the options of `prepare`, with those that a network wants; logs these.

    Args:
      given: the options that the user gave, by field name of `PrepareConfig`.
      network: its name; "" for none.

    Raises:
      ConfigError: there is no such network, or --like fixes the images already.
    """
    if not network:
        return dict(given)
    wanted = next((w for prefix, w in NETWORKS.items() if network.startswith(prefix)), None)
    if wanted is None:
        raise ConfigError(
            f"--for should be a network of keras.applications, whose name begins with one of {', '.join(NETWORKS)}. "
            f"Received: {network!r}."
        )
    if given.get("like"):
        raise ConfigError("--like takes size and normalization from the earlier dataset. Leave --for out.")
    chosen: dict[str, Any] = {"size": (wanted.side, wanted.side), "normalize": wanted.normalize}
    if wanted.normalize == "imagenet" and (given.get("channels", 3) != 3 or given.get("bands")):
        del chosen["normalize"]  # its numbers are for red, green and blue; the trainer converts any other
    chosen = {name: value for name, value in chosen.items() if name not in given}
    flags = [f"--{name} {option_syntax.SIZE.show(v) if name == 'size' else v}" for name, v in chosen.items()]
    _log.info("--for %s sets %s", network, " ".join(flags) or "nothing: all is given")
    return {**given, **chosen}
