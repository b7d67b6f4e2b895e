"""Fixtures of tests/training.py for the tests in this folder."""

from tests.training import data, network, settings, train

__all__ = ["data", "network", "settings", "train"]
