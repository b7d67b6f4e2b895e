"""What the host learns of a GPU a batch late, on a pretended one: losses and gradients that are not finite."""

from itertools import pairwise

import pytest
import torch

from tests.engine.runs import rows_of, spoil_losses
from tests.engine.test_device import classify
from ultralytics import YOLO
from ultralytics.cfg import get_options
from ultralytics.engine.nonfinite import MAX_NONFINITE
from ultralytics.engine.optim import FUSED, build_optimizer, load_optimizer
from ultralytics.engine.runtime import sent_ahead
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.models.yolo.classify.task import ClassifyTask
from ultralytics.nn.tasks import ClassificationModel
from ultralytics.utils.errors import TrainingError

RUN = {"epochs": 3, "batch": 2, "nbs": 2, "amp": False, "dropout": 0.0, "warmup_epochs": 0.0, "lr0": 0.01}


@pytest.fixture
def spoil(monkeypatch):
    """`spoil(bad)`: the loss is NaN in the iterations that `bad` says."""
    original = ClassifyTask.criterion

    def spoil(bad):
        monkeypatch.setattr(ClassifyTask, "criterion", original)  # not what was spoilt before
        spoil_losses(monkeypatch, ClassifyTask, bad)

    return spoil


def train(folder, weights=None, **options):
    """A run of the tiny classifier, 2 batches an epoch; `weights` gets those after setup and after every batch."""
    model = YOLO((run := classify(folder, **RUN | options))["model"])
    for event in ("on_train_start", "on_train_batch_end") if weights is not None else ():
        model.add_callback(event, lambda t: weights.append([p.detach().cpu().clone() for p in t.model.parameters()]))
    model.train(**run)
    return model.trainer


@pytest.mark.parametrize("optimizer", [*FUSED, "RMSProp"])
def test_a_step_is_skipped_as_on_a_cpu(optimizer, spoil, gpu, tmp_path, caplog):
    """Also the first, before which momenta are nothing; RMSProp cannot skip by itself, and the host waits."""
    runs = []
    for device in ("cpu", 0):
        (folder := tmp_path / str(device)).mkdir()
        caplog.clear()
        spoil(lambda i: i in (0, 3))
        trainer = train(folder, weights := [], device=device, optimizer=optimizer)
        same = [all(map(torch.equal, before, after)) for before, after in pairwise(weights)]
        assert same == [True, False, False, True, False, False]
        runs.append(weights)
        assert trainer.skipped == 2 and trainer.nonfinite_since_step == 0 and trainer.rollbacks == 0
        skipped = "batch" if device == "cpu" or optimizer == "RMSProp" else "step"
        for epoch, count in ((1, 1), (2, 2)):
            assert f"epoch {epoch}: non-finite loss, {skipped} skipped ({count} so far)" in caplog.text
        assert "nan" not in str(rows_of(trainer.save_dir))
    if optimizer == "SGD":  # the others divide by gradients, which makes much of what is rounded
        torch.testing.assert_close(*runs, rtol=1e-4, atol=1e-5)


def test_a_gradient_alone_and_a_scale_that_is_too_large(gpu, tmp_path, monkeypatch, caplog):
    """The former is counted; the latter, as at the start of every run in float16, is lowered and not."""
    clip, calls = torch.nn.utils.clip_grad_norm_, []

    def infinite(parameters, limit):
        calls.append(limit)
        parameters = list(parameters)
        if len(calls) == 2:
            parameters[0].grad.fill_(float("inf"))
        return clip(parameters, limit)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", infinite)
    trainer = train(tmp_path, device=0)
    assert trainer.skipped == 1 and "non-finite gradient, step skipped (1 so far)" in caplog.text
    assert all(p.isfinite().all() for p in trainer.model.parameters())
    calls.clear()
    (folder := tmp_path / "half").mkdir()
    trainer = train(folder, device=0, amp=True)
    assert trainer.skipped == 0 and all(p.isfinite().all() for p in trainer.model.parameters())


def test_many_of_them_lead_back_and_no_end_of_them_ends_the_run(spoil, gpu, tmp_path, caplog):
    spoil(lambda i: 3 <= i < 3 + MAX_NONFINITE)
    trainer = train(tmp_path, device=0, epochs=6)
    assert trainer.rollbacks == 1 and not trainer.notes and "rolling back to the weights of" in caplog.text
    assert len(rows_of(trainer.save_dir)) == 6
    (folder := tmp_path / "end").mkdir()
    spoil(lambda i: i >= 3)
    with pytest.raises(TrainingError, match=r"non-finite loss again and again; try a lower lr0"):
        train(folder, device=0, epochs=40)


def test_an_epoch_without_a_finite_loss_has_none(spoil, gpu, tmp_path):
    spoil(lambda i: i < 2)
    rows = rows_of(train(tmp_path, device=0).save_dir)
    assert [row["train/loss"] == "" for row in rows] == [True, False, False]


@pytest.mark.parametrize("name", FUSED)
def test_a_state_goes_on_on_another_device(name, gpu):
    """One kernel on a GPU keeps the number of steps there, several on a CPU do not."""

    def ready(device):
        torch.manual_seed(0)
        model = ClassificationModel("yolov8n-cls.yaml", nc=2, verbose=False).to(device)
        return model, build_optimizer(model, get_options({"optimizer": name}), 0.0)

    def step(model, optimizer):
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, 0.1)
        optimizer.step()

    for first, second in (("cpu", "cuda:0"), ("cuda:0", "cpu")):
        model, optimizer = ready(first)
        step(model, optimizer)
        other, continued = ready(second)
        other.load_state_dict({k: v.to(second) for k, v in model.state_dict().items()})
        other.to(memory_format=torch.channels_last)
        state = torch.utils._pytree.tree_map_only(torch.Tensor, lambda t: t.cpu(), optimizer.state_dict())
        load_optimizer(continued, state)
        assert bool(continued.param_groups[0]["fused"]) == (second != "cpu")
        assert second == "cpu" or all(
            value.stride() == parameter.stride()
            for parameter, state in continued.state.items()
            for value in state.values()
            if value.shape == parameter.shape
        )
        step(model, optimizer)
        step(other, continued)
        for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(mine.detach().cpu(), theirs.detach().cpu())


@pytest.mark.parametrize("count", [0, 1, 4])
def test_batches_are_sent_while_the_one_before_is_in_use(count, gpu):
    """The same in the same order; of what is no dict, and on a CPU, nothing is sent."""
    made = []

    def loader():
        for i in range(count):
            made.append(i)
            yield {"img": torch.full((1, 3, 4, 4), i, dtype=torch.uint8), "cls": i} if i != 2 else "mine"

    seen = []
    for batch in sent_ahead(loader(), torch.device("cuda:0")):
        assert len(made) == min(len(seen) + 2, count)
        seen.append(batch if batch == "mine" else (batch["img"].device.type, batch["img"].cpu()[0, 0, 0, 0].item()))
    assert seen == ["mine" if i == 2 else ("cuda", i) for i in range(count)]
    assert not [why for why, where in gpu.waits if "sent_ahead" in where]
    assert all(b == "mine" or b["img"].device.type == "cpu" for b in sent_ahead(loader(), torch.device("cpu")))


def test_a_loss_that_is_not_finite_costs_its_step_though_gradients_are(gpu, tmp_path, monkeypatch, caplog):
    """A constant has no gradient: the norm alone would not tell."""
    criterion, calls = ClassifyTask.criterion, []

    def spoilt(self, model):
        loss_function = criterion(self, model)

        def loss(preds, batch):
            total, items = loss_function(preds, batch)
            if not isinstance(preds, tuple):
                calls.append(len(calls))
                total = total + (float("nan") if calls[-1] < MAX_NONFINITE else 0.0)
            return total, items

        return loss

    monkeypatch.setattr(ClassifyTask, "criterion", spoilt)
    trainer = train(tmp_path, weights := [], device=0, epochs=4)
    same = [all(map(torch.equal, before, after)) for before, after in pairwise(weights)]
    assert same[:MAX_NONFINITE] == [True] * MAX_NONFINITE and not any(same[MAX_NONFINITE + 1 :])
    assert trainer.skipped == MAX_NONFINITE and trainer.rollbacks == 1 and "rolling back" in caplog.text


class OwnStep(BaseTrainer):
    """A trainer with the step that scripts for the public package have."""

    def optimizer_step(self):
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), max_norm=10.0)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        self.ema.update(self.model)


def test_a_step_of_ones_own_never_sees_a_loss_that_is_not_finite(spoil, gpu, tmp_path, caplog):
    spoil(lambda i: i in (0, 3))
    model = YOLO((run := classify(tmp_path, **RUN | {"device": 0}))["model"])
    model.train(trainer=OwnStep, **run)
    assert model.trainer.skipped == 2 and model.trainer.rollbacks == 0 and "batch skipped" in caplog.text


def test_momenta_begin_at_nothing_whatever_the_warm_up(gpu):
    model = ClassificationModel("yolov8n-cls.yaml", nc=2, verbose=False).to("cuda:0")
    for momentum in (0.0, 0.9):
        optimizer = build_optimizer(model, get_options({"optimizer": "SGD", "momentum": momentum}), 0.0)
        assert all(not state["momentum_buffer"].any() for state in optimizer.state.values()) and optimizer.state


def test_states_of_an_optimizer_of_ones_own_stay_as_they_are():
    """With entries that belong to no parameter, and of another type."""
    parameter = torch.nn.Parameter(torch.ones(3))
    first, second = (torch.optim.SGD([parameter], lr=0.1) for _ in range(2))
    first.state["run"] = {"name": "mine", "count": 3}
    first.state[parameter]["quantized"] = torch.ones(3, dtype=torch.uint8)
    load_optimizer(second, first.state_dict())
    assert second.state["run"] == {"name": "mine", "count": 3}


def test_batches_without_images_are_handed_on(gpu):
    batches = [{"cls": 1}, {"img": ["a.jpg"]}, ("x", 2)]
    assert list(sent_ahead(iter(batches), torch.device("cuda:0"))) == batches
