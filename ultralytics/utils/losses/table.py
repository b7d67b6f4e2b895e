"""Table of the losses that options choose from: name -> function, by option."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from ultralytics.utils.errors import ConfigError
from ultralytics.utils.files import nearest

# A function from pairs of predictions and targets to their loss; one that keeps a state is a class of nn.Module.
Loss = Callable[[Any], Tensor] | type[nn.Module]
LOSSES: dict[str, dict[str, Loss]] = {"iou_loss": {}, "cls_loss": {}}
LOSSES["assign_iou"] = LOSSES["iou_loss"]  # 1 - a loss is the overlap that objects are assigned by


def register_loss(name: str, function: Loss | None = None, option: str = "iou_loss") -> Any:
    """Make `function` known as a value of an option: `register_loss("mine", f)`, then `train(iou_loss="mine")`.

    Without a function it is a decorator. For "iou_loss" it is called with `BoxPairs` and returns (P, 1), for "cls_loss"
    with `ScorePairs` and returns (B, A, nc). A subclass of nn.Module, the class itself, is made anew for every run; its
    buffers are saved in last.pt. A resumed run needs the same call. ConfigError for a name that is taken.
    """
    if function is None:
        return lambda decorated: register_loss(name, decorated, option)
    if option not in LOSSES:
        raise ConfigError(f"register_loss({name!r}, option={option!r}): the option is one of {', '.join(LOSSES)}")
    if not name.isidentifier():
        raise ConfigError(f"register_loss({name!r}): a name has letters, digits and underscores only, such as mine")
    known = LOSSES[option].get(name.lower())
    if known is not None and known.__module__.startswith("ultralytics."):
        raise ConfigError(f"register_loss({name!r}): {option}={name} is built in, choose another name")
    LOSSES[option][name.lower()] = function
    return function


def make_loss(option: str, name: str) -> Callable[[Any], Tensor]:
    """The loss of a name, ready to be called; ConfigError with the nearest names where there is none."""
    table = LOSSES[option]
    if name not in table:
        near = f"; the nearest: {', '.join(close)}" if (close := nearest(name, table)) else ""
        raise ConfigError(
            f"{option}={name}: expected {', '.join(table)}{near}; a loss of your own is made known before the run by "
            f"register_loss({name!r}, function) of ultralytics.utils.loss"
        )
    loss = table[name]
    return loss() if isinstance(loss, type) else loss
