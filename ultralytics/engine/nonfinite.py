"""Losses and gradients that are not finite: they are skipped and counted, and too many lead back to last.pt."""

import math

import torch
from torch import Tensor

from ultralytics.engine.hooks import TrainerHooks
from ultralytics.engine.runtime import OnItsWay
from ultralytics.utils import LOGGER, processes
from ultralytics.utils.checkpoint import load_checkpoint
from ultralytics.utils.errors import TrainingError
from ultralytics.utils.torch_utils import is_finite

MAX_NONFINITE = 5  # so many non-finite losses or gradients without a good step in between: roll back to last.pt
MAX_ROLLBACKS = 3  # after that it is no accident, and the run ends with advice


class NonfinitePolicy(TrainerHooks):
    """What a trainer does about a loss or a gradient that is not finite.

    The host sees it at once, and skips that batch or step. Where it would have to wait for a GPU (`reads_late`), the
    optimizer skips the step by itself, and the host reads a batch later that it did. There a loss that is not finite
    costs the whole step, the gradients of all its batches.
    """

    def choose_reading(self, own_step: bool) -> None:
        """Read late from a GPU if the optimizer can skip a step by itself, and the step is not the user's own."""
        skips = getattr(self.optimizer, "_step_supports_amp_scaling", False)  # what torch's GradScaler asks
        self.reads_late = self.device.type == "cuda" and skips and not own_step
        self.forget_notes()

    def check_finite(self, what: str, value: Tensor) -> bool:
        """Whether a loss or gradient norm is finite; if not, it is counted. If `reads_late`, a note is taken of it."""
        if self.reads_late:
            self.note(what, value.reshape(1))
            self.losses_finite = self.losses_finite & value.isfinite().all()
        elif not value.isfinite():
            self.count_nonfinite(what)
            return False
        return True

    def note(self, what: str, values: Tensor) -> None:
        """Send values (n,) of this iteration on their way from a GPU; `read_notes` takes them up."""
        self.notes.append((self.iteration, what, OnItsWay(values)))

    def read_notes(self, before: float = math.inf) -> None:
        """Take up the notes of iterations before one: so the host waits for a GPU that is a batch ahead of it."""
        while self.notes and self.notes[0][0] < before:
            _, what, values = self.notes.popleft()
            value, *more = values.read()
            if what == "mean losses":
                self.shown = [value, *more]
            elif math.isfinite(value):
                if what == "gradient":
                    self.nonfinite_since_step = 0
            elif what == "loss":
                self.count_nonfinite(what)
            else:
                scale, losses_finite = more  # a scale above 1 may be the reason, and has been lowered
                if scale <= 1 and losses_finite:  # else the loss was counted
                    self.count_nonfinite(what)

    def count_nonfinite(self, what: str) -> None:
        """Log and count a loss or gradient that is not finite, and roll back if it keeps happening."""
        self.skipped += 1
        self.nonfinite_since_step += 1
        lost = "step" if what == "gradient" or self.reads_late else "batch"
        LOGGER.warning(f"epoch {self.epoch + 1}: non-finite {what}, {lost} skipped ({self.skipped} so far)")
        if self.nonfinite_since_step >= MAX_NONFINITE or processes.any_process(not is_finite(self.model)):
            self.roll_back(what)

    def roll_back(self, what: str) -> None:
        """Restore the weights of the last checkpoint; TrainingError where that has not helped, or there is none."""
        advice = "try a lower lr0 or amp=False, and look at labels.jpg and train_batch0.jpg"
        if not self.args.save:
            raise TrainingError(
                f"epoch {self.epoch + 1}: non-finite {what}, and with save=False no checkpoint to go back to; {advice}"
            )
        if self.rollbacks == MAX_ROLLBACKS:
            raise TrainingError(f"epoch {self.epoch + 1}: non-finite {what} again and again; {advice}")
        LOGGER.warning(
            f"non-finite {what}, rolling back to the weights of {self.last}; should it happen again, {advice}"
        )
        self.restore_weights(load_checkpoint(self.last))
        self.set_epoch()  # the restored buffers may hold the temperature of an earlier epoch
        self.rollbacks += 1
        self.nonfinite_since_step = 0
        self.forget_notes()

    def forget_notes(self) -> None:
        """Begin anew: what a GPU has found belongs to weights and gradients that are no more."""
        self.notes.clear()
        self.losses_finite = torch.ones((), dtype=torch.bool, device=self.device)
