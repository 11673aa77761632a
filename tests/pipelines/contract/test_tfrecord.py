"""The framing of records: two of them, damaged in each way that a checksum or a length can tell."""

from __future__ import annotations

import io

import pytest
import tensorflow as tf

from pipelines.contract import tfrecord

RECORDS = [b"abc", b"defgh"]
FILE = b"".join(map(tfrecord.framed, RECORDS))  # 8 + 4 + 3 + 4 bytes, then 8 + 4 + 5 + 4
SECOND = 19
DAMAGED = "its bytes are damaged (their checksum differs)"


def read(data: bytes, most: int = 100) -> list[tuple[int, bytes, str]]:
    return [tuple(frame) for frame in tfrecord.frames(io.BytesIO(data).read, most)]


def flipped(byte: int, bit: int = 0) -> bytes:
    return FILE[:byte] + bytes([FILE[byte] ^ 1 << bit]) + FILE[byte + 1 :]


def test_records_are_framed_as_tensorflow_does(tmp_path):
    with tf.io.TFRecordWriter(str(tmp_path / "file")) as writer:
        for record in RECORDS:
            writer.write(record)
    assert (tmp_path / "file").read_bytes() == FILE
    assert read(FILE) == [(0, b"abc", ""), (SECOND, b"defgh", "")]


@pytest.mark.parametrize("byte", [12, 14, 15, 18])  # of the record and of its checksum
def test_a_flipped_bit_of_a_record_is_told_and_the_next_is_read(byte):
    (_, _, problem), second = read(flipped(byte))
    assert (problem, second) == (DAMAGED, (SECOND, b"defgh", ""))


@pytest.mark.parametrize("byte", [0, 1, 7, 8, 11])  # of the length and of its checksum
def test_a_flipped_bit_of_a_length_is_told_and_mended(byte):
    assert read(flipped(byte)) == [(0, b"abc", "its length is damaged by one flipped bit"), (SECOND, b"defgh", "")]


def test_two_flipped_bits_of_a_length_end_the_reading():
    [(offset, data, problem)] = read(bytes([FILE[0] ^ 3]) + FILE[1:])
    assert (offset, data, problem) == (0, b"", "its length is damaged, so that what follows cannot be found")


@pytest.mark.parametrize(("length", "most", "refused"), [(5, 5, False), (6, 5, True), (1 << 62, 5, True)])
def test_a_length_above_the_limit_is_told_and_not_believed(length, most, refused):
    asked = []

    def reads(count: int) -> bytes:
        asked.append(count)
        return (tfrecord.header(length) if len(asked) == 1 else b"")[:count]

    [frame] = tfrecord.frames(reads, most)
    assert ("its length should be at most 5 bytes" in frame.problem) == refused
    assert max(asked) <= tfrecord.FRAMING_BYTES + most


@pytest.mark.parametrize(
    ("size", "problem"),
    [
        (SECOND + 5, "the file ends inside its header, after 5 of 12 bytes"),
        (SECOND + 14, "the file ends inside it, after 2 of 9 bytes"),
        (SECOND + 20, "the file ends inside it, after 8 of 9 bytes"),
    ],
)
def test_a_cut_is_told(size, problem):
    assert read(FILE[:size])[1][2] == problem
