"""The training loop, the same for every task, read top to bottom: train() is the loop, the rest its steps."""

import gc
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import torch
from torch import nn
from tqdm import tqdm

from ultralytics.cfg import Options
from ultralytics.data.utils import dataset_info
from ultralytics.engine import distributed, loggers
from ultralytics.engine.callbacks import Callbacks
from ultralytics.engine.nonfinite import NonfinitePolicy
from ultralytics.engine.optim import (
    Schedule,
    describe_optimizer,
    keep_proportions,
    like,
    load_optimizer,
    resolve_optimizer,
    scaled_decay,
)
from ultralytics.engine.runtime import (
    FusedCopy,
    inference_dtype,
    lay_out,
    resolve_runtime,
    sent_ahead,
    training_on,
)
from ultralytics.engine.setup import (
    Given,
    check_replaced,
    claim_run_dir,
    explicit_options,
    freeze,
    init_run_dir,
    refresh_loader,
    resolve_options,
    resume_point,
    set_train_mode,
    start_run_dir,
)
from ultralytics.engine.state import data_digest, restoring, seed_all
from ultralytics.engine.validator import NUM_PLOTTED_BATCHES
from ultralytics.models.yolo import task_class
from ultralytics.models.yolo.task import Metrics
from ultralytics.nn import routing
from ultralytics.utils import HEADING, LOGGER, processes, refused
from ultralytics.utils.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ultralytics.utils.errors import TrainingError
from ultralytics.utils.torch_utils import ModelEMA, is_finite, select_device

if TYPE_CHECKING:
    pass

CLIP_NORM = 10.0  # of all gradients together, as in the public package


class BaseTrainer(NonfinitePolicy):
    """One training run. Callbacks receive it and may read every attribute without a leading underscore.

    Those of `on_pretrain_routine_start` may replace `args`: `trainer.args = trainer.args.replace(box=5.0)`. Any may set
    `epochs` and `stop`; the schedule follows after the epoch.

    A subclass, of this or of one for a task such as DetectionTrainer, changes what a run does by replacing methods of
    TrainerHooks. YOLO(...).train(trainer=MyTrainer) runs it.
    """

    def __init__(
        self,
        cfg: Given = None,
        overrides: Mapping[str, object] | None = None,
        _callbacks: Callbacks | Mapping[str, Sequence[Callable]] | None = None,
    ) -> None:
        """Options are those of `cfg`, a file or a namespace, and of `overrides`, which win; `model` is among them."""
        refused.warn_never_called(type(self), "train")
        given = explicit_options(cfg, overrides)
        chosen = self.task_class or task_class(given.get("task") or "detect")
        self.resumed = None
        if resume := given.get("resume"):  # True: the last.pt that YOLO() was given, which is the option `model`
            self.resumed = resume_point(Path(resume if isinstance(resume, str) else given.get("model") or ""), given)
        self.args = self.resumed.options if self.resumed else resolve_options(chosen, "train", given)
        self.callbacks = Callbacks.of(_callbacks)
        self.device = select_device(self.args.device)
        self.args = distributed.join(self.args, self.device)  # all processes but the first neither draw nor log
        self.runtime = resolve_runtime(self.args, self.device)
        self.task_class, self.data = chosen, {}  # no data until get_dataset(), which a subclass may replace
        self.data = dataset_info(self.get_dataset())
        self.task = chosen(self.args, self.data)
        self.batch_size = self.args.batch
        self.save_dir = self.resumed.run_dir if self.resumed else distributed.first(lambda: init_run_dir(self.args))
        self.last, self.best = (self.save_dir / "weights" / name for name in ("last.pt", "best.pt"))
        self.table = loggers.ResultsTable(self.save_dir / "results.csv")
        self.sinks = [self.table, loggers.EpochTimes(self.table), loggers.TensorBoard(self.save_dir)]
        self.epoch = self.start_epoch = self.best_epoch = 0
        self.epochs, self.stop, self.seconds = self.args.epochs, False, 0.0
        self.iteration, self.last_step, self.skipped = 0, -1, 0
        self.nonfinite_since_step = self.rollbacks = 0
        self.notes, self.reads_late = deque(), False
        self.shown, self.losses_finite = [], None
        self.metrics, self.fitness, self.best_fitness = {}, None, None
        self.loss = self.loss_items = self.tloss = None
        self.loss_names = chosen.loss_names
        self.transforms = ()
        self.source = None

    @distributed.session()
    def train(self) -> Metrics:
        """Train to the end; metrics of the best weights, or with save=False of the last epoch's EMA ones."""
        try:
            claim = claim_run_dir(self.save_dir, self.resumed)
            with claim, training_on(self.device, self.args, vars(self)), loggers.quiet(not self.args.verbose):
                LOGGER.info(loggers.run_header(self.device))
                self.run_callbacks("on_pretrain_routine_start")
                self.setup()
                self.run_callbacks("on_pretrain_routine_end")
                self.run_callbacks("on_train_start")
                epoch = self.start_epoch
                self.settle_end(epoch)
                while not self.stop and epoch < self.epochs:
                    self.epoch = epoch
                    self.try_one_epoch()
                    self.metrics, self.fitness = self.validate() or (self.metrics, self.fitness)
                    self.log_and_save()
                    epoch += 1
                    self.settle_end(epoch)
                returned = self.final_eval()  # that of a subclass may return metrics of its own, or nothing
                metrics = self.validator.metrics if returned is None else returned
                self.run_callbacks("on_train_end")
                self.run_callbacks("teardown")
                return metrics
        except torch.cuda.OutOfMemoryError as exc:
            advice = "start a new run from its last.pt with less" if self.start_epoch else "reduce one of them"
            place = f"batch={self.batch_size}, imgsz={self.args.imgsz}"
            raise TrainingError(f"CUDA out of memory at {place}: {advice}") from exc
        except KeyboardInterrupt:
            saved = self.args.save and self.last.exists()
            hint = f"resume={self.last} continues after the last finished epoch" if saved else "nothing was saved"
            LOGGER.warning(f"interrupted in epoch {self.epoch + 1}; {hint}")
            raise
        finally:
            self.train_loader = self.test_loader = self.validator = None  # their worker processes then end
            for sink in self.sinks:
                sink.close()

    def setup(self, batch_size: int | None = None) -> None:
        """Build network, loaders and optimizer; a new run writes its first checkpoint, a resumed one loads its last.pt.

        Called again with half the batch size where the first epoch ran out of GPU memory.
        """
        if self.source is None and self.resumed is None:  # before the seed, as a new network draws its weights
            from ultralytics.engine.model import YOLO

            self.source = YOLO(self.args.model or self.task.default_settings["model"])
        seed_all(self.args.seed)
        check_replaced(self.task.options, self.args)  # by a callback
        self.task.options = self.args
        self.model = distributed.share_weights(self.setup_model().to(self.device))
        self.set_model_attributes()
        self.data.setdefault("channels", self.model.channels)
        self.runtime = lay_out(self.model, self.runtime)
        self._learnable = [parameter.requires_grad for parameter in self.model.parameters()]  # final_eval() restores it
        freeze(self.model, self.args.freeze)
        self.batch_size = (
            batch_size
            or (self.resumed and self.resumed.checkpoint.training["batch"])
            or (self.args.batch if isinstance(self.args.batch, int) and self.args.batch > 0 else self.auto_batch())
        )
        distributed.check(self.batch_size, self.save_dir)
        self.train_loader = self.get_dataloader(self.data["train"], self.batch_size, mode="train")
        self.data_digest = data_digest(self.train_loader.dataset)
        val_batch = self.batch_size * self.task.val_batch_factor
        self.test_loader = self.get_dataloader(self.data["val"], val_batch, mode="val")
        self.batches = len(self.train_loader)
        self.args = resolve_optimizer(self.args, self.data["nc"], len(self.train_loader.dataset), self.batch_size)
        self.task.options = self.model.args = self.args  # optimizer=auto is decided now: pass it on
        self.validator = self.get_validator()
        self.loss_function = self.get_criterion()
        o, decay = self.args, scaled_decay(self.args, self.batch_size)
        steps = math.ceil(len(self.train_loader.dataset) / max(self.batch_size, o.nbs)) * self.epochs
        self.optimizer = self.build_optimizer(self.model, o.optimizer, o.lr0, o.momentum, decay, steps)
        keep_proportions(self.optimizer, o.lr0)
        self.choose_reading(own_step=type(self).optimizer_step is not BaseTrainer.optimizer_step)
        LOGGER.info(describe_optimizer(self.optimizer))
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.runtime.scale_gradients)
        self.ema = ModelEMA(self.model)
        distributed.part(self.model, self.args)  # from here on each process draws random numbers of its own
        self.network = torch.compile(self.model) if self.runtime.compile else self.model
        self.last_step = -1  # also where the first epoch begins again
        start_run_dir(self.save_dir, self.args)
        if self.args.plots:
            self.plot_training_labels()
        LOGGER.info(f"results in {self.save_dir}")
        if self.runtime.kernels:
            LOGGER.info(self.runtime.kernels)
        for note in self.runtime.notes:
            LOGGER.warning(note)
        if self.resumed:
            with restoring(self.last):
                self.load_state_dict(self.resumed.checkpoint)
            self.train_loader = refresh_loader(self.train_loader, self.current_options(), self.start_epoch)
        elif self.args.save:
            self.save(self.last, epoch=-1, resumable=True)
        self.schedule = Schedule(self.current_options(), self.batches, self.batch_size)

    def current_options(self) -> Options:
        """Options with the number of epochs as it is now, which `time` and callbacks change."""
        return self.args.replace(epochs=self.epochs)

    def settle_end(self, done: int) -> None:
        """Agree in all processes on `epochs` and `stop`, which callbacks may set in one alone, after `done` epochs.

        With `time`, `epochs` becomes the number that can be begun within it at the speed so far.
        """
        if self.args.time and self.seconds:
            self.epochs = max(math.ceil(self.args.time * 3600 * done / self.seconds), done)
        self.epochs, self.stop = distributed.first(lambda: self.epochs), processes.any_process(self.stop)

    def try_one_epoch(self) -> None:
        """Train one epoch; in the first, begin again with half the batch on OOM; roll back non-finite weights."""
        while True:
            try:
                self.train_one_epoch()
                break
            except torch.cuda.OutOfMemoryError:
                if self.epoch > 0 or self.batch_size == 1 or not self.halves_batch or distributed.started():
                    raise
            # After the except block, as the exception keeps tensors alive, and so do the last graph and what was built.
            self.loss = self.loss_items = self.tloss = self.model = self.network = self.ema = self.optimizer = None
            self.loss_function = self.validator = None
            gc.collect()  # hooks and the like refer to each other
            LOGGER.warning(f"CUDA out of memory at batch={self.batch_size}: starting again with half of it")
            self.setup(self.batch_size // 2)
        self.resumed = None  # needed no more, as setup() runs again in the first epoch alone; frees its memory
        if processes.any_process(not is_finite(self.model)):
            self.roll_back("weights")
        if not is_finite(self.ema.ema):  # as no update would change that
            LOGGER.warning("the EMA of the weights is not finite: restarting it from the current weights")
            self.ema.ema.load_state_dict(self.model.state_dict())

    def train_one_epoch(self) -> None:
        """Pass once over the training images: forward, backward, and a step whenever enough batches have passed."""
        started = perf_counter()
        set_train_mode(self.model)
        self.set_epoch()
        self.train_loader.set_epoch(self.epoch)
        self.tloss, counted, self.shown = None, 0, []
        self.run_callbacks("on_train_epoch_start")
        LOGGER.info(self.progress_string(), extra=HEADING)
        batches = sent_ahead(self.train_loader, self.device)
        with tqdm(batches, total=self.batches, bar_format=loggers.BAR_FORMAT, disable=not self.args.verbose) as bar:
            for i, loaded in enumerate(bar):
                self.run_callbacks("on_train_batch_start")
                self.iteration = self.epoch * self.batches + i
                self.schedule.apply(self.optimizer, self.iteration)
                if self.args.plots and self.iteration < NUM_PLOTTED_BATCHES:
                    self.plot_training_samples(loaded, self.iteration)
                batch = self.preprocess_batch(loaded)  # images (B, C, H, W) 0..1 on the device
                with self.runtime.autocast():
                    preds = self.network(batch["img"])
                self.loss, items = self.criterion(preds, batch)  # outside of autocast: losses are float32
                loss, self.loss_items = processes.mean_losses(self.loss, items)
                if self.check_finite("loss", loss):
                    finite = loss.isfinite()
                    counted += finite
                    mean = torch.zeros_like(self.loss_items) if self.tloss is None else self.tloss
                    self.tloss = mean + torch.where(finite, self.loss_items - mean, 0.0) / counted.clamp(min=1)
                    self.scaler.scale(self.loss).backward()  # adds to the gradients of earlier batches
                    if self.iteration - self.last_step >= self.schedule.at(self.iteration).accumulate:
                        self.optimizer_step()
                        self.last_step = self.iteration
                self.read_notes(self.iteration)
                if self.args.verbose and self.tloss is not None:
                    if self.reads_late:
                        self.note("mean losses", torch.atleast_1d(self.tloss))
                    else:
                        self.shown = torch.atleast_1d(self.tloss).tolist()
                    bar.set_description_str(loggers.progress_columns(self, batch), refresh=False)
                self.run_callbacks("on_train_batch_end")
                if self.args.time and self.seconds + perf_counter() - started > self.args.time * 3600:
                    LOGGER.info(f"time limit of {self.args.time:g} h reached")
                    self.stop = True
                self.stop = processes.any_process(self.stop)
                if self.stop:
                    break
            self.read_notes()
            if self.args.verbose and self.reads_late and self.shown:
                bar.set_description_str(loggers.progress_columns(self, batch))  # the last batch, too
        if self.tloss is not None and not counted:  # not one was finite
            self.tloss = None
        self.seconds = distributed.first(lambda: self.seconds + perf_counter() - started)
        self.run_callbacks("on_train_epoch_end")

    def set_epoch(self) -> None:
        """Tell modules with a method `set_epoch(epoch, epochs)`, in the network and its EMA, which epoch begins."""
        for module in chain(self.model.modules(), self.ema.ema.modules()):
            if hasattr(module, "set_epoch"):
                module.set_epoch(self.epoch, self.epochs)

    def optimizer_step(self) -> None:
        """Clip the accumulated gradients, update weights and EMA."""
        processes.average_gradients(self.model)
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), CLIP_NORM)
        if self.reads_late:  # the optimizer leaves out the step by itself, also where a loss was not finite
            norm = torch.where(self.losses_finite, norm, math.nan)
            self.optimizer.found_inf = (~norm.isfinite()).float()
            self.optimizer.step()
            del self.optimizer.found_inf
            scale = self.scaler._get_scale_async() if self.scaler.is_enabled() else torch.ones_like(norm)
            self.note("gradient", torch.stack((norm, scale, self.losses_finite.float())))
            self.losses_finite = torch.ones_like(self.losses_finite)
            self.ema.update(self.model)
            self.run_callbacks("optimizer_step")
        elif norm.isfinite():
            self.scaler.step(self.optimizer)
            self.ema.update(self.model)
            self.nonfinite_since_step = 0
            self.run_callbacks("optimizer_step")
        elif self.scaler.get_scale() <= 1:  # a larger scale may be the reason, and is lowered below
            self.check_finite("gradient", norm)
        self.scaler.update()
        self.run_callbacks("on_before_zero_grad")
        self.optimizer.zero_grad()

    # After an epoch ----------------------------------------------------------------------------------------------

    def validate(self) -> tuple[dict[str, float], float | None]:
        """Measure the EMA weights, remember the best epoch, stop early; returns the new `metrics` and `fitness`."""
        started = perf_counter()
        processes.average_buffers(self.model, self.ema.ema)
        self.metrics, self.fitness = {}, None
        self.settle_end(self.epoch + 1)
        if self.args.val or self.stop or self.epoch + 1 >= self.epochs:
            results = dict(self.validator(self) or self.validator.metrics.results_dict)  # a user's may return nothing
            fitness = results.pop("fitness", self.validator.metrics.fitness)
            self.fitness = distributed.first(lambda: fitness)
            loss = self.validator.loss
            self.metrics = results if loss is None else results | self.label_loss_items(loss, "val")
            if not self.best_fitness or self.fitness > self.best_fitness:
                # At fitness 0 every epoch is the new best: patience starts with the first detection.
                self.best_fitness, self.best_epoch = self.fitness, self.epoch
            if self.args.val and (patience := self.args.patience) and self.epoch - self.best_epoch >= patience:
                LOGGER.info(f"early stopping: no improvement since epoch {self.best_epoch + 1} (patience={patience})")
                self.stop = True
            self.seconds = distributed.first(lambda: self.seconds + perf_counter() - started)
        return self.metrics, self.fitness

    def log_and_save(self) -> None:
        """Hand the epoch's row to every sink and write the checkpoints."""
        losses = {} if self.tloss is None else self.label_loss_items(self.tloss, "train")
        row = {  # all columns in their order; None where this epoch measured nothing
            "epoch": self.epoch + 1,
            "time": self.seconds,
            **dict.fromkeys(self.label_loss_items(prefix="train")),
            **losses,
            **dict.fromkeys((*self.task.metric_keys, *self.label_loss_items(prefix="val"))),
            **self.metrics,
            **{f"lr/pg{i}": group["lr"] for i, group in enumerate(self.optimizer.param_groups)},
        }
        if distributed.is_first():
            self.save_metrics(row)
        self.settle_end(self.epoch + 1)  # the validation took its time, too
        self.schedule = Schedule(self.current_options(), self.batches, self.batch_size)
        self.train_loader = refresh_loader(self.train_loader, self.current_options(), self.epoch + 1)  # mosaic may end
        if self.args.save:
            self.save_model()
            self.run_callbacks("on_model_save")
        self.run_callbacks("on_fit_epoch_end")

    def final_eval(self) -> Metrics:
        """Measure the best weights as they were saved, draw the curves, drop from last.pt what only a resume needs.

        With save=False the EMA weights of the last epoch are measured. The EMA, which the user gets back, then requires
        gradients again, and `on_fit_epoch_end` runs once more.
        """
        model = self.ema.ema
        if self.args.save:
            model.load_state_dict(distributed.first(lambda: load_checkpoint(self.best).state_dict))
            LOGGER.info(f"the best weights, {self.best}, of epoch {self.best_epoch + 1}:")
        # As YOLO(best.pt).val() does it, `half` included.
        dtype = inference_dtype(self.args, self.device)
        network = FusedCopy().get(model, self.device, dtype, self.runtime.channels_last)
        self.validator.subject = (model, self.best if self.args.save else None)
        with (recorder := routing.Recorder(network))():  # what the routers of DynamicConv choose meanwhile
            self.validator(model=network)
        recorder.gather()
        metrics = self.validator.metrics
        self.metrics, self.fitness = dict(metrics.results_dict), metrics.fitness
        if (routers := recorder.routing()).layers:
            routing.report(routers, self.save_dir / "routing.png" if self.args.plots else None)
        if self.args.plots:
            self.plot_metrics()
        for parameter, learnable in zip(model.parameters(), self._learnable, strict=True):
            parameter.requires_grad_(learnable)  # ModelEMA turned all off; `freeze` was for this run
        if self.args.save and distributed.is_first():  # at the very end: until then a killed run can be resumed
            reduced = load_checkpoint(self.last)
            reduced.training = None
            save_checkpoint(self.last, reduced)
        self.run_callbacks("on_fit_epoch_end")  # once more, as in the public package, with the final metrics
        LOGGER.info(f"{self.epoch + 1} epoch{'s' if self.epoch else ''} in {self.seconds / 3600:.3f} hours")
        return metrics

    # Checkpoints -----------------------------------------------------------------------------------------------------

    def save(self, path: Path, epoch: int, resumable: bool = False) -> None:
        """Write the EMA weights: in half precision, or, where `resumable`, in full with everything else."""
        checkpoint = Checkpoint(
            state_dict=self.ema.ema.state_dict(),
            yaml=self.model.yaml,
            task=self.task.name,
            names=self.data["names"],
            args=self.args.as_dict() | {"batch": self.batch_size},
            epoch=epoch,
            metrics=self.metrics,
            training=self.state_dict(epoch) if resumable else None,
        )
        if distributed.is_first():
            save_checkpoint(path, checkpoint)

    def state_dict(self, epoch: int) -> dict[str, object]:
        """State that the epochs after `epoch` depend on, EMA weights apart: tensors, numbers, lists and dicts."""
        return {
            "model": self.model.state_dict(),
            "ema_updates": self.ema.updates,
            "optimizer": self.optimizer.state_dict(),
            "criterion": self.loss_function.state_dict() if hasattr(self.loss_function, "state_dict") else {},
            "scaler": self.scaler.state_dict(),
            "gradients": processes.average_gradients(self.model),  # all processes join in, and keep the means
            "gathered": (epoch + 1) * self.batches - 1 - self.last_step,  # batches since a step was due, skipped too
            "frozen": [n for n, p in self.model.named_parameters() if not p.requires_grad],
            "stop": self.stop,
            "epochs": self.epochs,
            "batch": self.batch_size,  # read by setup()
            "seconds": self.seconds,
            "best_fitness": self.best_fitness,
            "best_epoch": self.best_epoch,
            "skipped": self.skipped,
            "nonfinite_since_step": self.nonfinite_since_step,
            "rollbacks": self.rollbacks,
            "given": sorted(self.args.given),  # read by resume_point()
            "data": self.data_digest,
            **distributed.random_states(),
        }

    def load_state_dict(self, checkpoint: Checkpoint) -> None:
        """Continue from a checkpoint whose `training` is what `state_dict` gave; setup() has built the rest."""
        saved = checkpoint.training
        if saved.get("data", self.data_digest) != self.data_digest:
            LOGGER.warning(f"{self.args.data} has other training images or labels than when the run was stopped")
        self.restore_weights(checkpoint)
        for name, parameter in self.model.named_parameters():
            gradient = saved["gradients"].get(name)  # accumulated since the last optimizer step
            parameter.grad = None if gradient is None else like(parameter, gradient)
            parameter.requires_grad_(name not in saved["frozen"])
        distributed.set_random_states(saved)
        for name in ("stop", "epochs", "seconds", "best_fitness", "best_epoch"):
            setattr(self, name, saved[name])
        for name in ("skipped", "nonfinite_since_step", "rollbacks"):
            setattr(self, name, saved.get(name, 0))  # not in checkpoints of earlier versions
        self.epoch, self.start_epoch = max(checkpoint.epoch, 0), checkpoint.epoch + 1
        self.last_step = self.start_epoch * self.batches - 1 - saved["gathered"]
        self.metrics = checkpoint.metrics
        self.table.resume(self.start_epoch)

    def restore_weights(self, checkpoint: Checkpoint) -> None:
        """Go back to the weights, EMA and states of optimizer, scaler and loss; epoch and random state stay."""
        saved = checkpoint.training
        self.model.load_state_dict(saved["model"])
        self.ema.ema.load_state_dict(checkpoint.state_dict)
        self.ema.updates = saved["ema_updates"]
        load_optimizer(self.optimizer, saved["optimizer"])
        if saved["scaler"]:  # empty if the run began where gradients need no scaling
            self.scaler.load_state_dict(saved["scaler"])
        if kept := saved.get("criterion"):  # most losses keep nothing
            self.loss_function.load_state_dict(kept)
        self.optimizer.zero_grad()


__getattr__ = refused.getter(__name__)  # public names that are not here say what to use instead
