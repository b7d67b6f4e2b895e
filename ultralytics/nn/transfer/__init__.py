"""Warm start: pretrained weights into a network that need not be the one they come from.

Entries are matched by structure (structure.py), so that a row inserted into a model YAML or taken out of it costs its
own weights only. A static convolution that faces a dynamic one is expanded (kernels.py): every expert becomes it, so
that the network computes what it did, provided that the norm and the activation after it are there as well.
"""

from .move import transfer
from .report import Transfer

__all__ = ["Transfer", "transfer"]
