"""The command line as a module: python -m vae_likelihoods."""

import sys

from vae_likelihoods.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
