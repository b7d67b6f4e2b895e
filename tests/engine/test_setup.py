"""What a run needs before its first batch, function by function."""

import pytest
import torch
from torch import nn

from tests.engine.runs import untimed
from ultralytics import YOLO
from ultralytics.cfg import get_options
from ultralytics.data.build import build_loader
from ultralytics.data.dataset import build_dataset
from ultralytics.engine import setup, state
from ultralytics.engine.runtime import resolve_runtime
from ultralytics.models.yolo.detect.task import DetectTask
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.checkpoint import load_checkpoint, save_checkpoint
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.torch_utils import is_finite


class Nested(nn.Module):
    """A network whose second layer has a part that is called `model`, too."""

    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Module(), nn.BatchNorm2d(4))
        self.model[1].model = nn.ModuleList(nn.Conv2d(4, 4, 1) for _ in range(3))


def trainable(model: nn.Module) -> set[str]:
    """Layers of Nested that are trained."""
    return {name.rpartition(".")[0] for name, p in model.named_parameters() if p.requires_grad}


ALL = {"model.0", "model.1.model.0", "model.1.model.1", "model.1.model.2", "model.2"}


@pytest.mark.parametrize(
    ("layers", "frozen"),
    [
        (None, set()),
        (0, set()),
        ([], set()),
        (1, {"model.0"}),
        ([2], {"model.2"}),
        ("model.1.model", {"model.1.model.0", "model.1.model.1", "model.1.model.2"}),
        (["model.1.model.2", 0], {"model.1.model.2", "model.0"}),
        (["1.model.2."], {"model.1.model.2"}),
        (["2"], {"model.2"}),  # and not model.1.model.2
        (["bias"], set()),  # of every layer: its weight is still trained
    ],
    ids=["none", "0", "[]", "1", "[2]", "name", "name-and-number", "from-the-number-on", "a-number-as-text", "any"],
)
def test_freeze_takes_numbers_of_layers_and_whole_names(layers, frozen):
    model = Nested()
    setup.freeze(model, layers)
    assert trainable(model) == ALL - frozen


def test_a_frozen_name_is_no_part_of_another():
    model = DetectionModel("yolov8n.yaml", verbose=False)
    setup.freeze(model, ["2.cv1", "0.conv", "dfl"])
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {
        f"model.{n}" for n in ("2.cv1.conv.weight", "2.cv1.bn.weight", "2.cv1.bn.bias", "0.conv.weight")
    } | {"model.22.dfl.conv.weight"}


@pytest.mark.parametrize("layers", [4, [3], "model.9.", ["model.0.", "none"], ["odel.0"], ["model.1.model.", "3.0"]])
def test_freezing_what_is_not_there(layers):
    with pytest.raises(ConfigError, match=r"freeze=.*; the network has the layers 0 to 2, and parameters such as"):
        setup.freeze(Nested(), layers)


def test_layers_without_parameters_can_be_frozen(network):
    model = DetectionModel("yolov8n.yaml", verbose=False)
    setup.freeze(model, 11)  # the last of these is an Upsample
    assert not any(p.requires_grad for p in model.model[9].parameters())


def test_norms_are_frozen_when_all_their_parameters_are():
    model = nn.Sequential(*(nn.BatchNorm2d(2) for _ in range(3)), nn.BatchNorm2d(2, affine=False)).eval()
    model[0].requires_grad_(False)
    model[1].weight.requires_grad_(False)
    setup.set_train_mode(model)
    assert [norm.training for norm in model] == [False, True, True, True]


def test_runs_that_start_together_get_a_folder_each(tmp_path, monkeypatch):
    free = iter([tmp_path / "exp", tmp_path / "exp", tmp_path / "exp2"])  # exp is free until one of the two makes it
    monkeypatch.setattr(setup, "increment_path", lambda path, exist_ok: next(free))
    options = get_options({"project": str(tmp_path), "name": "exp"})
    assert [setup.init_run_dir(options).name for _ in range(2)] == ["exp", "exp2"]


def test_a_run_folder_that_is_a_file(tmp_path):
    (tmp_path / "exp").write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"exp cannot be made: .*; give another project="):
        setup.init_run_dir(get_options({"project": str(tmp_path), "name": "exp", "exist_ok": True}))


def test_trying_batches_leaves_the_network_as_it_was(network, monkeypatch):
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: 7)
    model = DetectionModel(network, verbose=False)
    seen = []
    forward = type(model).forward
    monkeypatch.setattr(type(model), "forward", lambda self, x: seen.append(x.shape) or forward(self, x))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    cpu = torch.device("cpu")
    options = get_options({"imgsz": 64, "multi_scale": 0.5, "batch": -1})
    runtime = resolve_runtime(options, cpu)
    with pytest.MonkeyPatch.context() as patch:  # the largest that multi_scale makes
        patch.setattr(setup, "largest_batch", lambda device, step_memory: step_memory(3))
        patch.setattr(setup, "step_memory", lambda model, batch, side, runtime: 1000 * batch + side)
        assert setup.choose_batch(options, model, runtime) == 3096
    assert setup.step_memory(model, 3, 96, runtime) == 7
    assert seen[0] == (3, 3, 96, 96)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_other_options_reach_the_workers_when_they_matter(data):
    """`time` changes `epochs` on the way, and with it where close_mosaic begins."""
    options = get_options({"imgsz": 64, "epochs": 100, "close_mosaic": 10})
    found = setup.load_data(DetectTask, options.replace(data=str(data)))
    loader = build_loader(build_dataset(found, "train", options, augment=True, batch=4), workers=1)
    shorter = options.replace(epochs=20)
    assert setup.refresh_loader(loader, shorter, 5) is loader  # mosaic either way
    assert setup.refresh_loader(loader, shorter, 9) is loader
    closed = setup.refresh_loader(loader, shorter, 10)  # the workers of the old one would go on with it
    assert closed is not loader and not closed.dataset.mix_probs(10)
    assert setup.refresh_loader(closed, shorter.replace(epochs=21), 11) is closed
    assert setup.refresh_loader(closed, options, 12) is not closed


def test_weights_may_have_masks_beside_them_that_are_not_finite():
    model = nn.BatchNorm2d(2)
    model.register_buffer("mask", torch.tensor([0.0, float("-inf")]))
    assert is_finite(model)
    for tensor in (model.running_var, model.weight.data):
        kept = tensor.clone()
        tensor[0] = float("nan")
        assert not is_finite(model)
        tensor.copy_(kept)


@pytest.mark.parametrize("number", [0, 2**32, 2**40 + 1])
def test_any_seed_starts_all_generators(number):
    state.seed_all(number)
    first = state.random_state()
    torch.rand(3)
    state.seed_all(number)
    assert torch.equal(state.random_state()["torch"], first["torch"])
    assert torch.equal(state.random_state()["numpy"]["keys"], first["numpy"]["keys"])


def test_args_yaml_makes_the_run_again(train, network, tmp_path):
    first = train(YOLO(network), optimizer="auto", epochs=1).trainer.save_dir
    model = YOLO(network)
    model.train(cfg=str(first / "args.yaml"))
    assert model.trainer.save_dir.name == "exp2"
    assert untimed(first) == untimed(model.trainer.save_dir)


def test_training_on_what_is_validated_is_said(data, caplog):
    setup.load_data(DetectTask, get_options({"data": data}))
    assert not caplog.records
    data.write_text(data.read_text(encoding="utf-8").replace("images/val", "images/train"), encoding="utf-8")
    setup.load_data(DetectTask, get_options({"data": data}))
    assert "train and val are the same images" in caplog.text


def test_options_that_are_newer_than_a_run_have_their_default(train, tmp_path):
    def stop(trainer):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(callbacks={"on_train_epoch_end": stop})
    last = tmp_path / "runs" / "exp" / "weights" / "last.pt"
    checkpoint = load_checkpoint(last)
    del checkpoint.args["augment"]
    save_checkpoint(last, checkpoint)
    assert setup.resume_point(last, {"boxes": True}).options.augment is False


@pytest.mark.parametrize(("batch", "expected"), [(-1, 0.6), (0.8, 0.8), (3, None)])
def test_batch_as_a_part_of_the_memory(train, monkeypatch, batch, expected):
    asked = []
    monkeypatch.setattr(setup, "largest_batch", lambda device, step, fraction=0.6: asked.append(fraction) or 2)
    model = train(batch=batch, epochs=1)
    assert model.trainer.batch_size == (batch if expected is None else 2)
    assert asked == ([] if expected is None else [expected])
