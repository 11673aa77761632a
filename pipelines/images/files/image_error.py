"""Defines the error of an image that cannot be used."""


class ImageError(ValueError):
    """Says that an image cannot be used.

    `reason` is a short stable word, the message is a sentence.
    """

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason
