"""python -m vae_likelihoods.translate --loss mse --reduction mean --kl-weight 0.00025 --shape 64x64x3"""

import sys

from vae_likelihoods.translate.command import main

if __name__ == "__main__":
    sys.exit(main())
