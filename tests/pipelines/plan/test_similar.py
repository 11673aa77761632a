"""Images that look alike, by hashes of which the bits are written down here."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.core.elements import Ref
from pipelines.core.summary import Duplicates
from pipelines.plan import similar, splits


def code(*bits: int) -> bytes:
    """A hash in which these bits are set."""
    return sum(1 << bit for bit in bits).to_bytes(16, "big")


def parts(hashed, bits):
    """The sets of names that `edges` connects."""
    merged = splits.components(similar.edges(hashed, bits))
    return {frozenset(n for n in merged if merged[n] == root) for root in merged.values()}


def expected(hashed, bits):
    """The same from all pairs."""
    pairs = [
        (a, b)
        for (x, a), (y, b) in itertools.combinations(hashed, 2)
        if a != b and (int.from_bytes(x, "big") ^ int.from_bytes(y, "big")).bit_count() <= bits
    ]
    merged = splits.components(pairs)
    return {frozenset(n for n in merged if merged[n] == root) for root in merged.values()}


def test_hashes_that_differ_in_few_bits_are_connected():
    hashed = [(code(), "a"), (code(0, 64), "b"), (code(0, 1, 64, 127), "c"), (code(*range(38)), "d")]
    assert parts(hashed, 1) == set()
    assert parts(hashed, 2) == {frozenset("abc")}  # a is 4 bits from c, and b is between them
    assert parts(hashed, 37) == {frozenset("abc")}
    assert parts(hashed, 38) == {frozenset("abcd")}  # each is 38 bits from d


def test_hashes_that_are_near_to_one_of_many():
    near = similar.Near([code(), code(5, 70), code(5, 70)], 2)
    asked = [code(), code(0, 1), code(0, 1, 2), code(5, 70, 100, 127), code(5, 70, 100, 126, 127), code(*range(128))]
    assert near.has(asked) == [True, True, False, True, False, False]
    assert similar.Near([code(3)], 0).has([code(3), code(4)]) == [True, False]
    assert near.has([]) == []


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 12), st.lists(st.sets(st.integers(0, 127), max_size=14), min_size=2, max_size=12))
def test_near_is_what_all_pairs_say(bits, drawn):
    codes = [code(*flipped) for flipped in drawn]
    numbers = [int.from_bytes(one, "big") for one in codes]
    half = len(codes) // 2
    wanted = [any((a ^ b).bit_count() <= bits for b in numbers[:half]) for a in numbers[half:]]
    assert similar.Near(codes[:half], bits).has(codes[half:]) == wanted


def test_equal_hashes_of_two_names_are_connected_and_a_name_is_not_connected_with_itself():
    assert parts([(code(3), "a"), (code(3), "b"), (code(3), "a")], 1) == {frozenset("ab")}
    assert similar.edges([(code(3), "a"), (code(3), "a")], 1) == []
    assert similar.edges([], 10) == []


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_the_parts_are_those_of_all_pairs(data):
    """Hashes are made of others by a few flips, so that distances around the limit are common."""
    bits = data.draw(st.integers(1, 12))
    codes = [0]
    for _ in range(data.draw(st.integers(1, 15))):
        flipped = data.draw(st.sets(st.integers(0, 127), max_size=bits + 2))
        codes.append(data.draw(st.sampled_from(codes)) ^ sum(1 << bit for bit in flipped))
    hashed = [(number.to_bytes(16, "big"), str(i)) for i, number in enumerate(codes)]
    shuffled = data.draw(st.permutations(hashed))
    assert parts(shuffled, bits) == expected(hashed, bits)
    assert similar.edges(shuffled, bits) == similar.edges(hashed, bits)


def test_thousands_that_are_all_alike_give_a_pair_for_each_and_not_one_for_each_two():
    """Two heaps of 700 hashes that share half of their bits with each other."""
    rng = np.random.default_rng(0)
    hashed = []
    for name, heap in (("x", 0), ("y", ((1 << 64) - 1) << 64)):
        flips = sorted({frozenset(map(int, rng.choice(64, 2, replace=False))) for _ in range(900)}, key=sorted)
        hashed += [((heap ^ sum(1 << b for b in f)).to_bytes(16, "big"), f"{name}{sorted(f)}") for f in flips[:700]]
    found = parts(hashed, 4)
    assert {frozenset(name[0] for name in part) for part in found} == {frozenset("x"), frozenset("y")}
    assert sorted(map(len, found)) == [700, 700]
    assert len(similar.edges(hashed, 4)) == 1398


def ref(key: str, content: str, look: bytes, label: str = "bee", split: str = "train") -> Ref:
    return Ref(key, f"in/{key}", label, split, "", 1.0, content, look=look)


def test_groups_name_the_images_of_several_contents_that_are_alike():
    refs = [
        ref("a", "1", code()), ref("b", "2", code(5), "wasp"), ref("c", "2", code(5)),  # b and c are one content
        ref("d", "3", code(*range(60)), split="test"), ref("e", "4", b""), ref("f", "5", b""),
    ]  # fmt: skip
    assert list(similar.groups(refs, 1)) == [
        Duplicates("1", (("in/a", "bee", "train"), ("in/b", "wasp", "train"), ("in/c", "bee", "train")))
    ]
    assert list(similar.groups(refs[1:3], 10)) == []  # equal content is told elsewhere
