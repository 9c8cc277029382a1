"""What lies in the store is told apart."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from vae_likelihoods.cells.identity import key_of
from vae_likelihoods.files import PROJECT
from vae_likelihoods.store.entry import Entry
from vae_likelihoods.upkeep.inventory import Stored, inventory, likelihood_name

KEY = "0123456789abcdef" * 4
LIKELIHOODS = sorted((PROJECT / "conf" / "likelihood").glob("*.yaml"))


def test_the_entries_of_a_study(tiny_root: Path) -> None:
    entries, foreign = inventory(tiny_root / ".cells")
    assert foreign == []
    assert sorted((each.kind, each.name, each.state) for each in entries) == [
        ("evaluation", "tiny/binomial-2-0", "done"),
        ("evaluation", "tiny/gaussian-2-0", "done"),
        *(
            ("measurement", f"{cell} {metric}", "done")
            for cell in ("binomial-2-0", "gaussian-2-0")
            for metric in ("bound", "latents", "reconstruction")
        ),
        ("training", "binomial-2-0", "done"),
        ("training", "gaussian-2-0", "done"),
    ]
    for each in entries:
        files = [path for path in each.entry.folder.rglob("*") if path.is_file() and path.name != "lock"]
        assert each.size_bytes == sum(path.stat().st_size for path in files) > 0
        assert each.newest == max(path.stat().st_mtime for path in files)


def test_what_is_no_entry_is_foreign(tmp_path: Path) -> None:
    (tmp_path / KEY).mkdir()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "features" / KEY).mkdir(parents=True)  # of an older version
    (tmp_path / KEY[1:]).mkdir()
    (tmp_path / KEY[::-1]).symlink_to(tmp_path / KEY)
    (tmp_path / ("f" * 64)).touch()
    entries, foreign = inventory(tmp_path)
    assert [each.key for each in entries] == [KEY]
    assert sorted(foreign) == sorted(["notes.txt", "features", KEY[1:], KEY[::-1], "f" * 64])
    assert inventory(tmp_path / "absent") == ([], [])


def test_states(tmp_path: Path) -> None:
    entry = Entry(tmp_path / KEY)

    def state() -> str:
        return Stored(entry).state

    with entry.locked():
        assert state() == "running"
    assert state() == "empty"
    (entry.folder / "weights").write_text("x")
    assert state() == "half done"
    entry.fail("an error")
    assert state() == "failed"
    entry.forget()
    entry.finish(["weights"])
    assert state() == "done"
    (entry.folder / "weights").write_text("y")
    assert state() == "damaged"


@pytest.mark.parametrize("content", [None, "", "{", "[]", "3", '{"settings": {}}', '{"definitions": {}}'])
def test_an_entry_that_does_not_say_what_it_is_of_is_unknown(tmp_path: Path, content: str | None) -> None:
    (tmp_path / KEY).mkdir()
    if content is not None:
        (tmp_path / KEY / "identity.json").write_text(content)
    stored = Stored(Entry(tmp_path / KEY))
    assert (stored.kind, stored.name, stored.identity, stored.definitions) == ("unknown", "-", {}, None)


def test_an_entry_need_not_say_which_definitions(tmp_path: Path) -> None:
    settings = {"likelihood": {}, "latent_dim": 2, "seed": 3}
    identity: dict[str, Any] = {"kind": "training", "settings": settings, "code": "abc"}
    folder = tmp_path / key_of(identity)
    folder.mkdir()
    (folder / "identity.json").write_text(json.dumps(identity))
    stored = Stored(Entry(folder))
    assert (stored.kind, stored.name, stored.identity, stored.definitions) == (
        "training",
        "--2-3",
        identity,
        None,
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 seconds"), (119, "119 seconds"), (125, "2 minutes"), (7300, "2 hours"), (30 * 86400, "30 days")],
)
def test_the_age_is_that_of_the_last_file_whatever_happens_to_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: int, words: str
) -> None:
    entry = Entry(tmp_path / KEY)
    with entry.locked():
        (entry.folder / "weights").touch()
    os.utime(entry.folder / "weights", (1e9, 1e9))
    monkeypatch.setattr(time, "time", lambda: 1e9 + seconds)
    assert Stored(entry).age == words


@pytest.mark.parametrize("path", LIKELIHOODS, ids=lambda path: path.stem)
def test_a_likelihood_has_the_name_of_its_yaml(path: Path) -> None:
    settings = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(settings, dict)
    assert likelihood_name(settings) == path.stem  # type: ignore[arg-type]
    numbers = {key: value * 1.5 for key, value in settings.items() if isinstance(value, float)}
    assert likelihood_name({**settings, **numbers}) == path.stem  # type: ignore[dict-item]


def test_a_likelihood_that_is_no_more_has_the_name_of_its_class() -> None:
    assert likelihood_name({"_target_": "vae_likelihoods.likelihoods.poisson.Poisson"}) == "Poisson"
    assert likelihood_name({}) == "-"
