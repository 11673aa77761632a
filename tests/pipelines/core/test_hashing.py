"""Hashes are part of every dataset: the golden values here must never change."""

from __future__ import annotations

import hashlib
import random

from hypothesis import given
from hypothesis import strategies as st

from pipelines import contract
from pipelines.core import hashing

names = st.text(max_size=20)


def test_position_is_keyed_blake2b_of_the_joined_parts():
    expected = int.from_bytes(hashlib.blake2b(b"split\0a/b.jpg\x003", digest_size=8, key=b"7").digest(), "big")

    assert hashing.position(7, "split", "a/b.jpg", 3) == expected
    assert hashing.position(0, "split", "a") == 14717454805694988817
    assert hashing.position(-5, "x") != hashing.position(5, "x")


@given(st.integers(-(1 << 63), (1 << 63) - 1), st.lists(names, max_size=3))
def test_position_is_on_the_line(seed, parts):
    assert 0 <= hashing.position(seed, *parts) < hashing.POSITIONS == 2**64


def test_positions_are_spread_evenly():
    tenths = [0] * 10
    for i in range(10_000):
        tenths[hashing.position(0, "key", i) * 10 // hashing.POSITIONS] += 1
    assert all(900 < count < 1100 for count in tenths)  # over 3 standard deviations of 30 either way


def test_names_that_are_not_utf8_have_a_position():
    assert hashing.position(0, "a\udcff") != hashing.position(0, "a\udcfe")


@given(names, st.integers(0, 999))
def test_record_keys_have_the_contracts_length(name, copy):
    key = hashing.record_key(name, copy)

    assert len(key.encode()) == contract.KEY_BYTES
    assert key == f"{hashing.position(0, 'key', name):016x}-{copy:03d}"


def test_text_digest_is_sha256():
    assert hashing.text_digest("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_multiset_digest_is_the_sum_modulo_2_to_the_256():
    a, b = (int(hashlib.sha256(text).hexdigest(), 16) for text in (b"a\x001", b"b\x002"))

    assert hashing.multiset_digest([]) == "0" * 64
    assert hashing.multiset_digest([("a", "1"), ("b", "2")]) == f"{(a + b) % 2**256:064x}"


@given(st.lists(st.tuples(names, names), max_size=6), st.randoms(use_true_random=False))
def test_multiset_digest_does_not_depend_on_order(rows, rng: random.Random):
    shuffled = rng.sample(rows, len(rows))

    assert hashing.multiset_digest(rows) == hashing.multiset_digest(shuffled)
    assert hashing.multiset_digest([*rows, ("one", "more")]) != hashing.multiset_digest(rows)


def test_a_file_is_hashed_while_it_is_written_and_read(tmp_path):
    content = b"abc" + bytes(range(256)) * 300
    with open(tmp_path / "a", "wb") as file:
        written = hashing.Hashed(file)
        written.write(b"abc")
        written.write(memoryview(content)[3:])
    with open(tmp_path / "a", "rb") as file:
        read = hashing.Hashed(file)
        assert (read.read(5), read.size) == (content[:5], 5)
        assert read.read(1 << 20) == content[5:]
        assert read.read(1) == b""
    assert (tmp_path / "a").read_bytes() == content
    assert written.sha256.hexdigest() == read.sha256.hexdigest() == hashlib.sha256(content).hexdigest()
    assert written.size == read.size == len(content)
