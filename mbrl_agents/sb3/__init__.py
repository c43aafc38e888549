"""Stable-Baselines3's interface: arguments, learn, predict, the host loop, callbacks, files."""
