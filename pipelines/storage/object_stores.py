"""Accesses the two object stores, each with the client that Beam makes for it.

Beam configures these clients from its options. The module has only the operations that `remote` needs. It does not use
Beam's own FileSystems, which makes a client for every call: that is a connection for every image, and for s3:// the
service's description is parsed again each time. FileSystems also cannot write an empty file to s3://, and a file that
an error closes half-written becomes visible.

Paths are SCHEME://BUCKET/KEY. Methods raise the clients' own exceptions, which `kind` classifies.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from typing import IO, Any, ClassVar, Protocol

TRIES = 3  # attempts to read a body whose connection breaks; the clients retry requests themselves, with growing pauses
SMALL = 8 << 20  # bytes: objects up to this size are uploaded in one request
DELETED_AT_ONCE = 1000  # keys per request; S3's limit
MISSING, NO_BUCKET, FORBIDDEN, OTHER = "missing", "no-bucket", "forbidden", "other"


class Store(Protocol):
    """Defines the operations on the objects of a store.

    An object appears only when it is complete: when `put` or `copy` returns.
    """

    remedy: ClassVar[str]  # what to do if credentials are missing or insufficient

    def read(self, path: str, limit: int) -> bytes:
        """Returns the first `limit` bytes of an object, in one request."""

    def fetch(self, path: str, file: IO[bytes]) -> None:
        """Writes an object's bytes to a local file."""

    def put(self, path: str, file: IO[bytes], size: int) -> None:
        """Makes an object of the next `size` bytes of a local file."""

    def names(self, path: str, flat: bool) -> Iterator[str]:
        """Yields the keys that begin with the path's key, with one request per page.

        Args:
          path: The path.
          flat: Whether to cut each key after its next /, so that keys below a folder appear as that folder.
        """

    def exists(self, path: str) -> bool: ...

    def copy(self, source: str, target: str) -> None:
        """Copies an object within the store."""

    def delete(self, paths: Iterable[str]) -> None:
        """Deletes objects, many per request."""

    def kind(self, error: BaseException) -> str:
        """Classifies an exception of the store's client.

        Returns:
          MISSING (there is no such object), NO_BUCKET, FORBIDDEN (or no credentials) or OTHER.
        """


class S3:
    """Accesses s3:// with boto3."""

    remedy: ClassVar[str] = (
        "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, run `aws configure`, or give Beam's --s3_… options, for "
        "credentials that may list, read and write there."
    )

    def __init__(self, options: Any):
        from apache_beam.io.aws.clients.s3.boto3_client import Client

        self._client = Client(options).client

    def read(self, path: str, limit: int) -> bytes:
        from botocore import exceptions

        bucket, key = parts(path)
        attempt = 0
        while True:
            attempt += 1
            try:
                answer = self._client.get_object(Bucket=bucket, Key=key, Range=f"bytes=0-{limit - 1}")
                with contextlib.closing(answer["Body"]) as body:
                    return bytes(body.read())
            except exceptions.ClientError as e:
                if _code(e) in ("InvalidRange", "416"):  # the object is empty
                    return b""
                raise
            except (exceptions.HTTPClientError, exceptions.IncompleteReadError):  # the connection broke in the body
                if attempt == TRIES:
                    raise

    def fetch(self, path: str, file: IO[bytes]) -> None:
        bucket, key = parts(path)
        self._client.download_fileobj(bucket, key, file)

    def put(self, path: str, file: IO[bytes], size: int) -> None:
        bucket, key = parts(path)
        if size <= SMALL:
            self._client.put_object(Bucket=bucket, Key=key, Body=file.read())
        else:
            self._client.upload_fileobj(file, bucket, key)

    def names(self, path: str, flat: bool) -> Iterator[str]:
        bucket, prefix = parts(path)
        pages = self._client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=bucket, Prefix=prefix, **({"Delimiter": "/"} if flat else {})):
            yield from (item["Key"] for item in page.get("Contents", ()))
            yield from (item["Prefix"] for item in page.get("CommonPrefixes", ()))

    def exists(self, path: str) -> bool:
        bucket, key = parts(path)
        try:
            self._client.head_object(Bucket=bucket, Key=key)
        except Exception as e:
            if self.kind(e) == MISSING:
                return False
            raise
        return True

    def copy(self, source: str, target: str) -> None:
        (from_bucket, from_key), (bucket, key) = parts(source), parts(target)
        self._client.copy({"Bucket": from_bucket, "Key": from_key}, bucket, key)

    def delete(self, paths: Iterable[str]) -> None:
        keys = [parts(path) for path in paths]
        for start in range(0, len(keys), DELETED_AT_ONCE):
            some = keys[start : start + DELETED_AT_ONCE]
            answer = self._client.delete_objects(
                Bucket=some[0][0], Delete={"Objects": [{"Key": key} for _, key in some], "Quiet": True}
            )
            for failed in answer.get("Errors", ()):
                raise OSError(f"{failed['Key']} was not deleted: {failed.get('Message', failed.get('Code'))}")

    def kind(self, error: BaseException) -> str:
        from botocore import exceptions

        if isinstance(error, (exceptions.NoCredentialsError, exceptions.PartialCredentialsError)):
            return FORBIDDEN
        code = _code(error)
        if code == "NoSuchBucket":
            return NO_BUCKET
        if code in ("NoSuchKey", "404"):
            return MISSING
        forbidden = ("403", "401", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken")
        return FORBIDDEN if code in forbidden else OTHER


class Gcs:
    """Accesses gs:// with google-cloud-storage."""

    remedy: ClassVar[str] = (
        "Run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS, for an account that may "
        "list, read and write there."
    )

    def __init__(self, options: Any):
        from apache_beam.io.gcp import gcsio
        from google.cloud import storage

        if os.environ.get("STORAGE_EMULATOR_HOST"):  # an emulator needs no credentials; the search takes 30 s
            self._client = storage.Client.create_anonymous_client()
        else:
            self._client = gcsio.create_storage_client(options)
        self._io = gcsio.GcsIO(self._client, options)

    def read(self, path: str, limit: int) -> bytes:
        from google.api_core import exceptions

        try:
            return bytes(self._blob(path).download_as_bytes(end=limit - 1, raw_download=True))
        except exceptions.RequestRangeNotSatisfiable:  # the object is empty
            return b""

    def fetch(self, path: str, file: IO[bytes]) -> None:
        self._blob(path).download_to_file(file, raw_download=True)

    def put(self, path: str, file: IO[bytes], size: int) -> None:
        self._blob(path).upload_from_file(file, size=size)

    def names(self, path: str, flat: bool) -> Iterator[str]:
        bucket, prefix = parts(path)
        wanted = "items(name),prefixes,nextPageToken"  # other fields are most of the answer for a million objects
        found = self._client.list_blobs(bucket, prefix=prefix, delimiter="/" if flat else None, fields=wanted)
        yield from (blob.name for blob in found)
        yield from sorted(found.prefixes)

    def exists(self, path: str) -> bool:
        return bool(self._blob(path).exists())

    def copy(self, source: str, target: str) -> None:
        token, made, origin = None, self._blob(target), self._blob(source)
        while True:  # the store copies a large object piece by piece
            token, _, _ = made.rewrite(origin, token=token)
            if token is None:
                return

    def delete(self, paths: Iterable[str]) -> None:
        for path, status in self._io.delete_batch(list(paths)):
            if status:
                raise OSError(f"{path} was not deleted: HTTP status {status}")

    def kind(self, error: BaseException) -> str:
        from google.api_core import exceptions
        from google.auth import exceptions as auth

        if isinstance(error, exceptions.NotFound):
            return NO_BUCKET if "bucket does not exist" in str(error) else MISSING
        forbidden = isinstance(error, (exceptions.Forbidden, exceptions.Unauthorized, auth.GoogleAuthError))
        return FORBIDDEN if forbidden else OTHER

    def _blob(self, path: str) -> Any:
        bucket, key = parts(path)
        return self._client.bucket(bucket).blob(key)


STORES: dict[str, type[S3] | type[Gcs]] = {"gs": Gcs, "s3": S3}


def parts(path: str) -> tuple[str, str]:
    """Returns (bucket, key) of a path SCHEME://BUCKET/KEY."""
    bucket, _, key = path.partition("://")[2].partition("/")
    return bucket, key


def _code(error: BaseException) -> str:
    response = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))
