"""Callbacks of the loops, under the event names of the public package."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Union

from ultralytics.utils.errors import ConfigError
from ultralytics.utils.files import nearest

if TYPE_CHECKING:
    from ultralytics.engine.predictor import BasePredictor
    from ultralytics.engine.trainer import BaseTrainer
    from ultralytics.engine.validator import BaseValidator

Loop = Union["BaseTrainer", "BaseValidator", "BasePredictor"]

EVENTS = (
    "on_pretrain_routine_start",
    "on_pretrain_routine_end",
    "on_train_start",
    "on_train_epoch_start",
    "on_train_batch_start",
    "optimizer_step",
    "on_before_zero_grad",
    "on_train_batch_end",
    "on_train_epoch_end",
    "on_fit_epoch_end",
    "on_model_save",
    "on_train_end",
    "teardown",
    "on_val_start",
    "on_val_batch_start",
    "on_val_batch_end",
    "on_val_end",
    "on_predict_start",
    "on_predict_batch_start",
    "on_predict_postprocess_end",
    "on_predict_batch_end",
    "on_predict_end",
    "on_export_start",
    "on_export_end",
)


class Callbacks:
    """Functions by event; each receives the trainer, validator or predictor that runs it."""

    def __init__(self) -> None:
        self.functions: dict[str, list[Callable[[Loop], None]]] = defaultdict(list)

    @classmethod
    def of(cls, given: "Callbacks | Mapping[str, Sequence[Callable]] | None") -> "Callbacks":
        """The callbacks that a loop is made with: those of a YOLO, functions by event, or none."""
        if isinstance(given, Callbacks):
            return given
        callbacks = cls()
        for event, functions in (given or {}).items():
            for function in functions:
                callbacks.add(event, function)
        return callbacks

    def add(self, event: str, function: Callable[[Loop], None]) -> None:
        """Call `function` at every `event`, after those that are there; an event that does not exist is a ConfigError.

        It may change the loop it receives, such as `trainer.args` before the run; what it raises ends the run.
        """
        if event not in EVENTS:
            near = nearest(event, EVENTS)
            known = f"the nearest are: {', '.join(near)}" if near else f"those are {', '.join(EVENTS)}"
            raise ConfigError(f"there is no callback event {event!r}; {known}")
        self.functions[event].append(function)

    def clear(self, event: str | None = None) -> None:
        """Remove the functions of one event, or of all."""
        for name in [event] if event else list(self.functions):
            self.functions.pop(name, None)


class HasCallbacks:
    """A loop with `callbacks`, and what people call for them, by its published names."""

    callbacks: Callbacks

    def add_callback(self, event: str, callback: Callable) -> None:
        """Call `callback` with the loop at every `event`, after those that are there."""
        self.callbacks.add(event, callback)

    def set_callback(self, event: str, callback: Callable) -> None:
        """Call `callback` alone at every `event`."""
        self.callbacks.clear(event)
        self.callbacks.add(event, callback)

    def run_callbacks(self, event: str) -> None:
        """Call the functions of an event."""
        for function in self.callbacks.functions.get(event, ()):
            function(self)
