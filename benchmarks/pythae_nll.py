"""The other side of iwae.py: `get_nll` of pythae's VAE, run by a Python that has pythae; prints JSON.

python benchmarks/pythae_nll.py FOLDER --images 4 --samples 5000 --threads 1

It imports nothing of the package. FOLDER has network.npz (weights by layer) and images.npy.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import time
from pathlib import Path

import numpy as np
import torch
from pythae.models import VAE, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from torch import Tensor, nn

SHAPE = (1, 28, 28)


class Encoder(BaseEncoder):
    """Mean and log-variance; the weights give the log-scale, which is half of it."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> ModelOutput:
        """Return mean and log-variance for images [B, 1, H, W]."""
        mean, log_scale = self.net(x.flatten(1)).chunk(2, -1)
        return ModelOutput(embedding=mean, log_covariance=2 * log_scale)


class Decoder(BaseDecoder):
    """Probabilities of pixels."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, z: Tensor) -> ModelOutput:
        """Return the probabilities for latents [B, L]."""
        return ModelOutput(reconstruction=self.net(z).sigmoid().reshape(-1, *SHAPE))


def stack(weights: dict[str, np.ndarray], name: str) -> nn.Sequential:
    """Return linear layers with a ReLU between them, from their weights in order."""
    layers: list[nn.Module] = []
    for index in range(sum(key.startswith(f"{name}.weight") for key in weights)):
        weight, bias = weights[f"{name}.weight{index}"], weights[f"{name}.bias{index}"]
        layer = nn.Linear(weight.shape[1], weight.shape[0])
        layer.load_state_dict({"weight": torch.tensor(weight), "bias": torch.tensor(bias)})
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def main() -> None:
    """Time `get_nll` on some images."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, required=True)
    parser.add_argument("--samples", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--gradients", action="store_true", help="without torch.no_grad() around it")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    weights = dict(np.load(options.folder / "network.npz"))
    encoder, decoder = Encoder(stack(weights, "encoder")), Decoder(stack(weights, "decoder"))
    latent_dim = weights["decoder.weight0"].shape[1]
    config = VAEConfig(input_dim=SHAPE, latent_dim=latent_dim, reconstruction_loss="bce")
    model = VAE(config, encoder, decoder).eval()
    images = torch.tensor(np.load(options.folder / "images.npy")[: options.images]).float()
    with contextlib.nullcontext() if options.gradients else torch.no_grad():
        model.get_nll(images[:1], n_samples=500)
        cpu, began = processor_seconds(), time.perf_counter()
        log_p = model.get_nll(images, n_samples=options.samples)
        seconds, cpu = time.perf_counter() - began, processor_seconds() - cpu
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "nll_nats": -float(log_p)}))


def processor_seconds() -> float:
    """Return the processor time of all threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
