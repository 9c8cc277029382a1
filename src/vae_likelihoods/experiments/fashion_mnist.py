"""Bits per dimension of Fashion-MNIST: models and codecs on one protocol, published figures beside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd
from typing_extensions import override

from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.cells.run_files import TIMINGS
from vae_likelihoods.experiments.base import ProtocolTable, PublishedProtocol, over_seeds, setting
from vae_likelihoods.files import read_csv

CODECS = {"png": "PNG", "webp": "WebP", "jpeg_ls": "JPEG-LS", "jpeg_xl": "JPEG XL", "xz": "xz"}
_EXACT = "exact"


class Published(NamedTuple):
    """A figure of a paper.

    Args:
        model: its name there.
        bits_per_dim: as printed.
        protocol: what is known of it.
    """

    model: str
    bits_per_dim: float
    protocol: str


PUBLISHED = (
    Published("Sparse PC", 3.27, "exact, a probabilistic circuit"),
    Published("Bit-Swap", 3.28, "a code; its public program pads to 32x32 and divides by 1,024: as printed"),
    Published("HCLT", 3.34, "exact, a probabilistic circuit"),
    Published("IDF", 3.47, "a code, an integer flow"),
    Published("BB-ANS", 3.66, "a code, a VAE"),
)
"""Dang et al. 2022, table 1."""


class FashionMNISTProtocol(PublishedProtocol):
    """All 784 pixels of the official test split at 256 levels; what was chosen was chosen on validation."""

    paper = "Dang, Liu and Van den Broeck 2022, arXiv:2211.12551, table 1"
    parts = ("fashion_fitted", "fashion_vae", "fashion_made", "fashion_pixelcnn")

    @override
    def row(self, cell: Cell, metrics: Mapping[str, Any]) -> dict[str, Any]:
        timings = cell.trained.folder / TIMINGS
        seconds = sum(float(row["seconds"]) for row in read_csv(timings)) if timings.is_file() else 0.0
        numbers = ("bits_per_dim", "parameters", "multiply_adds", "multiply_adds_to_draw")
        return {
            "family": cell.settings.family,
            "part": cell.study,
            "exact": metrics["score_is"] == _EXACT,
            "seconds": seconds,
            **{name: metrics[name] for name in numbers},
            **{name: value for codec in CODECS for name in _names(codec) if (value := metrics.get(name))},
        }

    @override
    def table(self, cells: pd.DataFrame) -> ProtocolTable:
        columns = (
            "model", "bits/dim", "score", "latents", "parameters", "multiply-adds to score", "to draw",
            "training, minutes", "seeds", "from",
        )  # fmt: skip
        rows = [*self._models(cells), *self._codecs(cells), *_published(len(columns))]
        ranked = sorted(rows, key=lambda row: float(row[1].partition(" ")[0]))
        return ProtocolTable(columns, ranked, words=("model", "score", "from"))

    def _models(self, cells: pd.DataFrame) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = []
        for (family, size), group in cells.groupby(["family", "latent_dim"], sort=False):
            first = group.iloc[0]
            k = first["importance_samples"]
            rows.append(
                (
                    f"`{family}`",
                    over_seeds(group["bits_per_dim"], 3),
                    _EXACT if first["exact"] else f"bound, k = {int(k)}",
                    str(size) if size else "",
                    f"{int(first['parameters']):,}",
                    f"{int(first['multiply_adds']):,}",
                    f"{int(first['multiply_adds_to_draw']):,}",
                    f"{group['seconds'].mean() / 60:.1f}",
                    str(len(group)),
                    f"`experiment={first['part']}`",
                )
            )
        return rows

    def _codecs(self, cells: pd.DataFrame) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = []
        for codec, words in CODECS.items():
            for name, how in zip(_names(codec), ("each image a file", "all in one file"), strict=True):
                if name in cells and (values := cells[name].dropna()).size:
                    rows.append((words, f"{values.iloc[0]:.3f}", how, *[""] * 6, "metric `codecs`"))
        return rows

    @override
    def findings(self, cells: pd.DataFrame) -> list[str]:
        kinds = {True: "model that gives p(x) directly", False: "model with a latent variable"}
        sentences, lowest = [], []
        for exact, what in kinds.items():
            scores = cells[cells["exact"] == exact].groupby("family")["bits_per_dim"].mean()
            if scores.size:
                lowest.append(float(scores.min()))
                sentences.append(f"The best {what} is `{scores.idxmin()}`: {lowest[-1]:.3f} bits/dim.")
        if len(lowest) == len(kinds):
            direct, latent = lowest
            more, amount = ("costs", latent - direct) if latent > direct else ("saves", direct - latent)
            sentences.append(
                f"So the latent variable {more} {amount:.3f} bits/dim here; its score is a bound, and may be"
                " better than it says."
            )
        return sentences

    @override
    def differences(self, cells: pd.DataFrame) -> list[str]:
        data, train, test = (setting(cells, name) for name in ("dataset", "train_images", "test_images"))
        return [
            f"{data}: {train} images to train on, the rest of the 60,000 to choose by; all {test} images of"
            " the official test split, all 784 pixels, 256 levels. No image of the test split is read before"
            " the score.",
            *(f"{each.model} {each.bits_per_dim}: {each.protocol}." for each in PUBLISHED),
            "JPEG XL, all test images tiled into one picture, is quoted as 3.67 elsewhere.",
        ]


def _names(codec: str) -> tuple[str, str]:
    return f"{codec}_bits_per_dim", f"{codec}_tiled_bits_per_dim"


def _published(columns: int) -> list[tuple[str, ...]]:
    blank = [""] * (columns - 3)
    return [(each.model, f"{each.bits_per_dim:.2f}", "as printed", *blank) for each in PUBLISHED]


EXPERIMENT = FashionMNISTProtocol()
