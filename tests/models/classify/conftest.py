"""Fixtures of short runs."""

from tests.training import data, network, settings, train

__all__ = ["data", "network", "settings", "train"]
