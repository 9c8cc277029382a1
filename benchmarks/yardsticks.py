"""The scores of samples for images of a known kind: other images, copies, blurred and noisy ones.

python benchmarks/yardsticks.py data/prepared/mnist5k

Images of the train split, changed or not, take the place of a model's samples. They are compared with as
many test images, at native levels.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from tabulate import tabulate
from torch import Tensor
from torch.nn import functional as F

from vae_likelihoods.datasets.prepared import PreparedDataset
from vae_likelihoods.files import PROJECT
from vae_likelihoods.metrics.measures.features import classifier_of
from vae_likelihoods.metrics.measures.frechet import frechet_distance
from vae_likelihoods.metrics.measures.neighbours import likeness, nearest
from vae_likelihoods.recipes.cpu import prepare_cpu
from vae_likelihoods.recipes.keeping import keep_in
from vae_likelihoods.seeding import generator

NEIGHBOURS, QUANTILE = 5, 0.05
NUMBERS = ("frechet", "precision", "recall", "density", "coverage", "share memorised")


def main() -> None:
    """Print a row for each kind of images."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("prepared", type=Path, help="folder of a prepared data set")
    parser.add_argument("--images", type=int, default=500, help="images of each kind, at most")
    parser.add_argument(
        "--store", type=Path, default=PROJECT / ".cells", help="the store that has the classifier"
    )
    options = parser.parse_args()
    prepare_cpu(threads=1)
    prepared = PreparedDataset(options.prepared)
    classifier, points = classifier_of(prepared, keep_in(options.store, prepared)), {}
    for name in ("train", "validation", "test"):
        images, labels = prepared.split(name)
        points[name] = images / (prepared.native_levels - 1)
        if labels is not None:
            accuracy = classifier.accuracy(classifier.features(points[name]), labels)
            print(f"accuracy on {name}: {accuracy:.4f}")
    features = {name: classifier.features(split) for name, split in points.items()}
    count = min(options.images, *(len(split) for split in points.values()))
    test, limit = features["test"][:count], nearest(features["test"], features["train"]).quantile(QUANTILE)
    rows = []
    for name, images in kinds(points["train"][:count], points["validation"][:count]):
        samples = classifier.features(images)
        memorised = float((nearest(samples, features["train"]) <= limit).double().mean())
        distance = frechet_distance(samples, test)
        rows.append([name, distance, *likeness(test, samples, NEIGHBOURS), memorised])
    print(tabulate(rows, [f"{count} images", *NUMBERS], tablefmt="pipe", floatfmt=".3f"))
    for part in (count // 4, count // 2, count):
        distance = frechet_distance(features["train"][:part], test[:part])
        print(f"frechet of {part} train and {part} test images: {distance:.3f}")


def kinds(train: Tensor, validation: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield the name of each kind and its images [N, C, H, W] in [0, 1]."""
    noise = generator(0, "yardsticks")
    yield "train images", train
    yield "validation images", validation
    yield "half of them", validation[: len(validation) // 2].repeat(2, 1, 1, 1)
    yield "train images, blurred over 3 x 3", F.avg_pool2d(train, 3, 1, 1)
    for scale in (0.1, 0.3):
        noisy = train + scale * torch.randn(train.shape, generator=noise)
        yield f"train images and noise of {scale}", noisy.clamp(0, 1)
    order = torch.randperm(train[0].numel(), generator=noise)
    yield "train images, pixels shuffled", train.flatten(1)[:, order].view_as(train)
    yield "uniform noise", torch.rand(train.shape, generator=noise)


if __name__ == "__main__":
    main()
