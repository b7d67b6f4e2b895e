"""Small functions that public heads import: initial biases, the inverse of the sigmoid."""

import copy
import math

import torch
from torch import Tensor, nn

from ultralytics.utils import refused


def bias_init_with_prob(prior_prob: float = 0.01) -> float:
    """Bias of a logit whose sigmoid is this probability (arXiv 1708.02002)."""
    return -math.log((1 - prior_prob) / prior_prob)


def linear_init(module: nn.Linear) -> None:
    """Draw weight and bias from a uniform distribution, as wide as one over the root of the number of outputs."""
    bound = 1 / math.sqrt(module.weight.shape[0])
    nn.init.uniform_(module.weight, -bound, bound)
    if module.bias is not None:
        nn.init.uniform_(module.bias, -bound, bound)


def _get_clones(module: nn.Module, n: int) -> nn.ModuleList:
    """List of `n` copies of a module, with weights of their own."""
    return nn.ModuleList(copy.deepcopy(module) for _ in range(n))


def inverse_sigmoid(x: Tensor, eps: float = 1e-5) -> Tensor:
    """Logits of probabilities, of which those nearer to 0 or 1 than `eps` count as `eps` away."""
    x = x.clamp(0, 1)
    return torch.log(x.clamp(min=eps) / (1 - x).clamp(min=eps))


__getattr__ = refused.getter(__name__)  # public names that are not here say what to use instead
