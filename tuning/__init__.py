"""Hyperparameter studies over Optuna: search spaces, batched trials, workers."""
