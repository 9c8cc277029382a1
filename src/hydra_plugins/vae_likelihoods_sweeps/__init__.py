"""A plugin of Hydra: sweeps over cells."""
