from __future__ import annotations

import numpy as np

from vae_likelihoods.datasets.grouping import digests, joined, numbered


def test_copies_share_an_id_and_others_do_not() -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, 3, 4, 5), dtype=np.uint8)
    images[7], images[30] = images[2], images[2]
    ids = numbered(digests(images))
    assert (ids == ids[2]).nonzero()[0].tolist() == [2, 7, 30]
    assert len(np.unique(ids)) == 48


def test_a_digest_that_ends_in_zero_bytes_is_kept_whole() -> None:
    # numpy's S strips trailing zeros, alike for alike; 40,000 digests have some such.
    images = np.arange(40_000, dtype=np.uint32).view(np.uint8).reshape(-1, 1, 2, 2)
    assert len(np.unique(numbered(digests(images)))) == len(images)


def test_joining_is_transitive() -> None:
    generator = np.random.default_rng(1)
    groupings = [generator.integers(0, 30, 100) for _ in range(2)]
    groupings[1] = generator.integers(0, 90, 100)
    ids = joined(*groupings)
    # Warshall's closure of "shares an id".
    same = np.any([group[:, None] == group for group in groupings], axis=0)
    for middle in range(100):
        same |= same[:, middle, None] & same[middle]
    np.testing.assert_array_equal(ids[:, None] == ids, same)
