"""The training loop, the same for every task."""

import math
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ultralytics.engine import loggers as report
from ultralytics.engine import setup as prepare
from ultralytics.engine import state
from ultralytics.engine.callbacks import Callbacks
from ultralytics.engine.loggers import Board, ResultsTable
from ultralytics.engine.optim import Schedule, build_optimizer, describe_optimizer, resolve_optimizer
from ultralytics.engine.runtime import Deterministic, inference_dtype, runtime_settings
from ultralytics.nn import routing
from ultralytics.utils import LOGGER
from ultralytics.utils.checkpoint import Checkpoint, load_checkpoint
from ultralytics.utils.errors import TrainingError
from ultralytics.utils.torch_utils import ModelEMA, select_device

CLIP_NORM = 10.0
MAX_CONSECUTIVE_NONFINITE = 5  # losses in a row that are not finite before the run goes back to its last checkpoint
MAX_ROLLBACKS = 3
PICTURES = 3  # training batches that are drawn


class Trainer:
    """One training run. Callbacks receive it and may read, and change, every attribute without underscore."""

    def __init__(
        self,
        task: Any,
        options: Any,
        build: Callable[[dict], nn.Module],
        callbacks: Callbacks,
        resume: Checkpoint | None = None,
        save_dir: Path | None = None,
        transforms: Sequence[Callable] = (),
    ) -> None:
        """`build` makes the network, pretrained weights and all, for the mapping of a dataset YAML.

        `resume` is the checkpoint to go on from, in the run folder `save_dir`.
        """
        self.task = task
        self.args = options
        self.callbacks = callbacks
        self.device = select_device(options.device)
        self.plan = runtime_settings(options, self.device)
        self.data = prepare.data(task, options)
        self.batch_size = options.batch
        self.save_dir = save_dir or prepare.run_folder(options)
        self.last, self.best = (self.save_dir / "weights" / name for name in ("last.pt", "best.pt"))
        self.table = ResultsTable(self.save_dir / "results.csv")
        self.board = Board(self.save_dir)
        self.epoch = self.start_epoch = self.best_epoch = 0
        self.epochs = options.epochs
        self.stop = False
        self.seconds = 0.0
        self.last_step = -1  # iteration of the last optimizer step
        self.skipped = 0  # batches and steps left out because a loss or a gradient was not finite
        self.metrics: dict[str, float | None] = {}
        self.fitness: float | None = None
        self.best_fitness: float | None = None
        self.loss: Tensor | None = None
        self.loss_items: Tensor | None = None  # parts of the last loss
        self.tloss: Tensor | None = None  # their mean over the epoch so far
        self.transforms = transforms
        self._build = build
        self._resume = resume
        self._bad_in_a_row = self._go_backs = 0

    def train(self) -> Any:
        """Train to the end; returns the metrics of the best weights, read back from their file."""
        try:
            with Deterministic(self.args.deterministic), report.quiet(not self.args.verbose):
                return self._train()
        except torch.cuda.OutOfMemoryError as exc:
            raise TrainingError(
                f"the GPU has no memory left with batch={self.batch_size} and imgsz={self.args.imgsz}: lower one"
            ) from exc
        except KeyboardInterrupt:
            LOGGER.warning("interrupted in epoch %d; %s", self.epoch + 1, report.resume_hint(self))
            raise
        finally:
            self.train_loader = self.validator = None  # and with them their workers
            self.board.close()

    def _train(self) -> Any:
        self.callbacks.run("on_pretrain_routine_start", self)
        self._set_up()
        self.callbacks.run("on_pretrain_routine_end", self)
        self.callbacks.run("on_train_start", self)
        for epoch in self._epochs():
            self.epoch = epoch
            self._train_epoch()
            self._end_epoch()
        metrics = self._finish()
        self.callbacks.run("on_train_end", self)
        self.callbacks.run("teardown", self)
        return metrics

    def _epochs(self) -> Iterator[int]:
        epoch = self.start_epoch
        while epoch < self.epochs and not self.stop:
            yield epoch
            epoch += 1

    def _set_up(self, batch_size: int | None = None) -> None:
        """Network, loaders, optimizer; a new run leaves its first checkpoint, a resumed one takes over its state."""
        state.seed(self.args.seed)
        self.model = self._build(self.data).to(self.device)
        self.model.args = self.args
        if self.plan.channels_last:
            self.model.to(memory_format=torch.channels_last)
        self._learnable = [parameter.requires_grad for parameter in self.model.parameters()]
        prepare.freeze(self.model, self.args.freeze)
        self.criterion = self.task.criterion(self.model)
        resumed = self._resume and self._resume.training["batch"]
        self.batch_size = batch_size or resumed or prepare.batch_size(self)
        self.train_loader, self.validator = prepare.loaders(self)
        self.batches = len(self.train_loader)
        self.args = resolve_optimizer(self.args, self.data["nc"], len(self.train_loader.dataset), self.batch_size)
        self.optimizer = build_optimizer(self.model, self.args, self.batch_size)
        LOGGER.info(describe_optimizer(self.optimizer))
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.plan.scale_gradients)
        self.ema = ModelEMA(self.model)
        self._network = torch.compile(self.model) if self.plan.compile else self.model
        self.last_step = -1
        prepare.folder(self)
        if self._resume:
            state.resume(self, self._resume)
            self.train_loader = prepare.with_options(self.train_loader, self._timed(), self.start_epoch)
        elif self.args.save:
            state.save(self, self.last, epoch=-1, with_training=True)
        self.schedule = Schedule(self._timed(), self.batches, self.batch_size)

    def _train_epoch(self) -> None:
        """One pass over the training images; while the GPU is too small for the first, again with half the batch."""
        while True:
            try:
                self._train_batches()
                break
            except torch.cuda.OutOfMemoryError:
                if self.epoch > 0 or self.batch_size == 1:
                    raise
            # Not in the handler: the exception keeps what fills the memory.
            LOGGER.warning("the GPU has no memory for batch=%d: starting again with half of it", self.batch_size)
            self._set_up(self.batch_size // 2)
        self._resume = None
        if not state.is_finite(self.model):
            self._leave_out("weight")

    def _train_batches(self) -> None:
        started = perf_counter()
        prepare.train_mode(self.model)
        self.tloss, self._counted = None, 0
        self.train_loader.set_epoch(self.epoch)
        prepare.set_epoch_of_modules(self)
        self.callbacks.run("on_train_epoch_start", self)
        with tqdm(self.train_loader, disable=not self.args.verbose) as bar:
            for i, batch in enumerate(bar):
                self.callbacks.run("on_train_batch_start", self)
                self._train_batch(batch, self.epoch * self.batches + i)
                bar.set_description(report.progress(self, batch), refresh=False)
                self.callbacks.run("on_train_batch_end", self)
                if self.args.time and self.seconds + perf_counter() - started > self.args.time * 3600:
                    LOGGER.info("time=%g hours are over", self.args.time)
                    self.stop = True
                if self.stop:
                    break
        self.seconds += perf_counter() - started
        self.callbacks.run("on_train_epoch_end", self)

    def _train_batch(self, batch: dict, iteration: int) -> None:
        """Forward, backward, and an optimizer step when enough batches have passed since the last one."""
        accumulate = self.schedule.apply(self.optimizer, iteration)
        if self.args.plots and iteration < PICTURES:
            self.task.plot_batch(batch, self.save_dir / f"train_batch{iteration}.jpg", self.data["names"])
        batch["img"] = prepare.images(self, batch, iteration)
        with self.plan.autocast():
            outputs = self._network(batch["img"])
        self.loss, self.loss_items = self.criterion(outputs, batch)
        if not self.loss.isfinite():
            self._leave_out("loss")
            return
        self._counted += 1
        mean = self.loss_items if self.tloss is None else self.tloss
        self.tloss = mean + (self.loss_items - mean) / self._counted
        self.scaler.scale(self.loss).backward()
        if iteration - self.last_step >= accumulate:
            self._step()
            self.last_step = iteration

    def _step(self) -> None:
        """Clip the gathered gradients, move the weights and their average."""
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), CLIP_NORM)
        if norm.isfinite():
            self.scaler.step(self.optimizer)
            self.ema.update(self.model)
            self._bad_in_a_row = 0
            self.callbacks.run("optimizer_step", self)
        elif self.scaler.get_scale() <= 1:  # a larger scale may be the reason, and is lowered below
            self._leave_out("gradient")
        self.scaler.update()
        self.callbacks.run("on_before_zero_grad", self)
        self.optimizer.zero_grad()

    def _leave_out(self, what: str) -> None:
        """Count a batch whose loss or gradient is not finite; if they keep coming, go back to the last checkpoint."""
        self.skipped += 1
        self._bad_in_a_row += 1
        LOGGER.warning("epoch %d: a %s that is not finite is left out, %d so far", self.epoch + 1, what, self.skipped)
        if self._bad_in_a_row < MAX_CONSECUTIVE_NONFINITE and state.is_finite(self.model):
            return
        advice = "try a lower lr0 or amp=False, and look at labels.jpg and train_batch0.jpg"
        if self._go_backs == MAX_ROLLBACKS or not self.args.save:
            raise TrainingError(f"epoch {self.epoch + 1}: the {what} is not finite again and again; {advice}")
        LOGGER.warning("going back to the weights of %s; should it happen again, %s", self.last, advice)
        state.go_back(self, load_checkpoint(self.last))
        prepare.set_epoch_of_modules(self)
        self._go_backs += 1
        self._bad_in_a_row = 0

    def _end_epoch(self) -> None:
        """Validate, write the table's row and the checkpoints, and decide whether to go on."""
        started = perf_counter()
        self.metrics, self.fitness = {}, None
        if self.args.val or self.stop or self.epoch + 1 >= self.epochs:
            measured = self.validator(self.ema.ema, self.criterion, final=False)
            self.metrics, self.fitness = report.measured(self, measured), measured.fitness
            self._compare()
        self.seconds += perf_counter() - started
        row = report.row(self)
        self.table.add(row)
        self.board.add(row)
        if self.args.time:
            self._fit_epochs_to_time()
        if self.args.save:
            self._save_epoch()
            self.callbacks.run("on_model_save", self)
        self.callbacks.run("on_fit_epoch_end", self)

    def _compare(self) -> None:
        """Remember the best epoch, and stop when it is too long ago; as long as nothing is found, no epoch is bad."""
        if not self.best_fitness or self.fitness > self.best_fitness:
            self.best_fitness, self.best_epoch = self.fitness, self.epoch
        if self.args.val and self.args.patience and self.epoch - self.best_epoch >= self.args.patience:
            LOGGER.info("no better epoch than %d in patience=%d: stopping", self.best_epoch + 1, self.args.patience)
            self.stop = True

    def _fit_epochs_to_time(self) -> None:
        """As many epochs as `time` has room for, at the speed so far; the schedule and close_mosaic follow."""
        done = self.epoch + 1
        self.epochs = max(math.ceil(self.args.time * 3600 * done / self.seconds), done)
        self.schedule = Schedule(self._timed(), self.batches, self.batch_size)
        self.train_loader = prepare.with_options(self.train_loader, self._timed(), done)

    def _timed(self) -> Any:
        """The options with the number of epochs that `time` has room for."""
        return self.args.replace(epochs=self.epochs)

    def _save_epoch(self) -> None:
        """best.pt before last.pt: a run that is killed between the two does this epoch again."""
        if self.best_fitness is None or self.best_epoch == self.epoch:
            state.save(self, self.best, self.epoch)
        if self.args.save_period > 0 and (self.epoch + 1) % self.args.save_period == 0:
            state.save(self, self.last.with_name(f"epoch{self.epoch + 1}.pt"), self.epoch)
        state.save(self, self.last, self.epoch, with_training=True)

    def _finish(self) -> Any:
        """Measure the best weights as they were saved, draw what is known, reduce last.pt to what best.pt holds."""
        model = self.ema.ema
        if self.args.save:
            model.load_state_dict(load_checkpoint(self.best).state_dict)
            LOGGER.info("the best weights, %s, of epoch %d:", self.best, self.best_epoch + 1)
        # As YOLO(best.pt).val() does it, `half` included.
        network = deepcopy(model).fuse(verbose=False).to(inference_dtype(self.args, self.device))
        with (recorder := routing.Recorder(network))():
            measured = self.validator(network)
        self.metrics, self.fitness = dict(measured.results_dict), measured.fitness
        if (found := recorder.routing()).layers:
            routing.report(found, self.save_dir / "routing.png" if self.args.plots else None)
        if self.args.plots:
            report.draw(self)
        for parameter, learnable in zip(model.parameters(), self._learnable, strict=True):
            parameter.requires_grad_(learnable)  # `freeze` was for this run
        if self.args.save:  # at the very end: until then a run that is killed can go on
            state.finish(self.last)
        self.callbacks.run("on_fit_epoch_end", self)
        LOGGER.info("%d epochs in %.2f hours, results in %s", self.epoch + 1, self.seconds / 3600, self.save_dir)
        return measured
