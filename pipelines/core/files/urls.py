"""Distinguishes URLs of object stores from local paths."""


def is_remote(path: str) -> bool:
    """Returns whether a path is a URL, such as gs://BUCKET/DIR.

    >>> is_remote("s3://bucket/photos"), is_remote("/photos"), is_remote("photos:1/a")
    (True, False, False)
    """
    return "://" in path


def scheme_of(url: str) -> str:
    """Returns the scheme of a URL.

    >>> scheme_of("gs://bucket/photos")
    'gs'
    """
    return url.partition("://")[0]
