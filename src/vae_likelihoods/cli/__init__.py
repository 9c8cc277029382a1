"""The command line `vae-likelihoods`: words checked, and a function of another package called.

Knows what each package does for people, and computes nothing. No command imports torch, MLflow or pandas
before it runs.
"""
