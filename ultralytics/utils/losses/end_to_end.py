"""Loss of YOLOv10's head, arXiv 2405.14458: with many anchor points an object, and with one."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from torch import Tensor, nn


class E2EDetectLoss:
    """Sum of a detection loss of each set of predictions, `one2many` and `one2one`."""

    def __init__(self, model: nn.Module, loss: Callable[..., Any] | None = None) -> None:
        """`loss` is the class of both, v8DetectionLoss unless given."""
        loss = loss or import_module("ultralytics.utils.loss").v8DetectionLoss
        self.one2many, self.one2one = loss(model, tal_topk=10), loss(model, tal_topk=1)

    def __call__(self, preds: Any, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Total and detached components, as those of `loss`; `preds` is the raw output, or (decoded, raw)."""
        raw = preds[1] if isinstance(preds, tuple) else preds
        many, one = self.one2many(raw["one2many"], batch), self.one2one(raw["one2one"], batch)
        return many[0] + one[0], many[1] + one[1]

    def state_dict(self) -> dict[str, Any]:
        """State that the losses keep from batch to batch."""
        return {"one2many": self.one2many.state_dict(), "one2one": self.one2one.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state that `state_dict` gave."""
        self.one2many.load_state_dict(state["one2many"])
        self.one2one.load_state_dict(state["one2one"])


def make_criterion(loss: Callable[..., Any], model: nn.Module) -> Any:
    """Loss of a network; YOLOv10's head, which has a second set of branches, needs two."""
    return E2EDetectLoss(model, loss) if hasattr(model.model[-1], "one2one_cv2") else loss(model)
