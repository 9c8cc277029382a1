"""p(x given z) over K levels: one file a family, all under the contract of `base.Likelihood`."""
