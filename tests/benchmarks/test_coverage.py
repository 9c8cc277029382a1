"""The simulation behind the table of coverage: its laws, its counting, and a few of its worlds."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from vae_likelihoods.report.resampling import compare

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "coverage.py"
SPECIFICATION = importlib.util.spec_from_file_location("benchmarks_coverage", SCRIPT)
assert SPECIFICATION is not None
assert SPECIFICATION.loader is not None
coverage = importlib.util.module_from_spec(SPECIFICATION)
sys.modules[SPECIFICATION.name] = coverage  # its dataclasses look for their module there
SPECIFICATION.loader.exec_module(coverage)


@pytest.mark.parametrize("law", coverage.LAWS)
def test_laws_have_mean_0_and_variance_1(law: str) -> None:
    values = coverage.of_law(law, (400_000,), np.random.default_rng(0))
    assert abs(values.mean()) < 0.01
    assert values.var() == pytest.approx(1, abs=0.15)


def test_a_study_is_judged_as_a_report_judges_it() -> None:
    """Scores [S, N] with the same means over seeds and the same spread of seeds."""
    world = coverage.World("gamma(4)", 60, 3, (2, 1), noisy=True)
    (studies,) = coverage.simulated(world, 5, np.random.default_rng(1))
    pairs = coverage.differences_of(studies, coverage.spread_of(studies, world.of_setting), left=2)
    low, high = pairs.interval(coverage.LEVEL / 2)
    for study in range(5):
        scores = [
            studies.by_image[study, place] + studies.by_seed[study, place][:, None] for place in range(3)
        ]
        compared = compare(scores, world.of_setting, replicates=2)
        for other in range(2):
            assert compared.interval(2, other) == pytest.approx((low[study, other], high[study, other]))


def test_rates_and_their_errors() -> None:
    count = coverage.Count()
    count.add(np.array([True, False, True, True]), np.array([True, True, True, False]))
    assert (count.held, count.cases) == (2, 3)
    assert count.error == pytest.approx(math.sqrt(2 / 27))
    assert math.isnan(coverage.Count().rate)


@pytest.mark.parametrize(
    "world",
    [
        coverage.World("lognormal(1)", 20, 5, (3,) * 6, noisy=False),
        coverage.World("gamma(4)", 50, 2, (1, 1), noisy=True),
        coverage.World("normal", 200, 2, (1,) * 6, noisy=True),
        coverage.World("normal", 20, 1, (1,) * 6, noisy=False),
    ],
    ids=lambda world: f"{world.law}-{world.images}-{world.seeds}",
)
def test_intervals_hold_in_the_hardest_worlds(world: coverage.World) -> None:
    found = coverage.coverage(world, 600)
    for count in found.single:
        assert not count.cases or 0.93 - 3 * count.error < count.rate < 0.985 + 3 * count.error
    for count in found.together:
        assert count.rate > 0.94 - 3 * count.error


def test_without_images_enough_nothing_is_counted() -> None:
    found = coverage.coverage(coverage.World("normal", 19, 2, (1, 1), noisy=False), 10)
    assert (found.shown.held, found.shown.cases) == (0, 20)
    assert sum(count.cases for count in (*found.single, *found.together)) == 0


def test_both_tables_are_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(coverage, "IMAGES", (20,))
    monkeypatch.setattr(sys, "argv", ["coverage.py", "--repetitions", "3"])
    coverage.main()
    first, second = capsys.readouterr().out.strip().split("\n\n")
    assert [line.split("|")[1].strip() for line in first.splitlines()[2:]] == [*coverage.LAWS]
    assert [line.split("|")[1].strip() for line in second.splitlines()[2:]] == ["2", "3", "5"]
