"""What is decided for a GPU, on pretended ones: kernels, precision, random numbers, memory, what is sent to it."""

import gc
import io
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from tests import pretend_cuda
from tests.engine.test_device import GPU, KilledError, classify, kill
from ultralytics import YOLO
from ultralytics.cfg import get_options
from ultralytics.engine import distributed
from ultralytics.engine.exporter import forget_indices
from ultralytics.engine.runtime import resolve_runtime
from ultralytics.engine.state import random_state, set_random_state
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.checks import warn_once
from ultralytics.utils.errors import ConfigError, NoGPUError
from ultralytics.utils.ops import normalized
from ultralytics.utils.torch_utils import ModelEMA, fuse_conv_and_bn, select_device

IMAGE = np.full((40, 60, 3), 90, np.uint8)


def test_a_device_without_float64_fuses_trains_and_predicts(gpu, tmp_path):
    """As MPS: networks are fused on the CPU, in float64, with the numbers that they have there."""
    gpu.lacks.add(torch.float64)
    with pytest.raises(TypeError, match="float64"):
        torch.ones(1, device=GPU).double()
    conv, norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
    nn.init.uniform_(norm.running_var)
    expected = fuse_conv_and_bn(conv, norm).weight
    fused = fuse_conv_and_bn(conv.to(GPU), norm.to(GPU)).weight
    assert fused.device == GPU and torch.equal(fused.cpu(), expected)
    run = classify(tmp_path, epochs=1, amp=False)
    (model := YOLO(run["model"])).train(**run)
    assert model.predict(IMAGE, device=0, imgsz=32)[0].probs.data.device == GPU
    model.to(0).fuse(verbose=False)
    assert model.device == GPU


@pytest.mark.parametrize(
    ("capability", "built", "good"),
    [
        ((8, 6), "sm_75 sm_80 sm_86", True),
        ((8, 9), "sm_75 sm_80 sm_86", True),  # of the same family
        ((12, 0), "sm_90a compute_90", True),  # compiled by the driver
        ((6, 1), "sm_75 sm_80 compute_80", False),
        ((9, 0), "sm_75 sm_80 sm_86", False),
    ],
)
def test_gpus_that_torch_has_no_kernels_for(gpu, monkeypatch, caplog, capability, built, good):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: capability)
    monkeypatch.setattr(torch.cuda, "get_arch_list", built.split)
    warn_once.cache_clear()
    if good:
        assert select_device(0) == select_device(None) == GPU
        return
    with pytest.raises(
        NoGPUError, match=rf"device=0: torch .* has no kernels for Pretended GPU \(compute capability {capability[0]}"
    ):
        select_device(0)
    assert select_device(None) == select_device("") == torch.device("cpu")
    assert caplog.text.count("Continuing with device=cpu.") == 1


def test_bfloat16_that_a_gpu_only_emulates_is_told(gpu, monkeypatch):
    options = get_options({"amp": "bf16"})
    assert not resolve_runtime(options, GPU).notes
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    (note,) = resolve_runtime(options, GPU).notes
    assert note == "amp=bf16: Pretended GPU has no bfloat16 and emulates it, slowly; amp=True is faster there"


@pytest.mark.parametrize(("given", "searches"), [({}, False), ({"deterministic": False}, True)])
def test_kernels_are_decided_and_told(given, searches, gpu, tmp_path, caplog):
    """cuDNN tries its kernels where they may differ from run to run and every batch has one size."""
    caplog.set_level("INFO")
    before, seen = torch.backends.cudnn.benchmark, []
    model = YOLO((run := classify(tmp_path, epochs=1) | given)["model"])
    model.add_callback("on_train_start", lambda trainer: seen.append(torch.backends.cudnn.benchmark))
    model.train(**run)
    assert seen == [searches] and torch.backends.cudnn.benchmark == before
    told = "float32: convolutions in TF32, where the GPU has it, and products in float32; cudnn.benchmark "
    assert f"{told}{'on' if searches else 'off'} in training" in caplog.text
    assert type(model.trainer.optimizer).__name__ == "AdamW" or model.trainer.optimizer.param_groups[0]["fused"]


def test_random_numbers_of_a_gpu_go_on_whatever_number_of_them_is_in_sight(caplog):
    if reason := pretend_cuda.can_pretend():
        pytest.skip(reason)
    with pretend_cuda.pretended(devices=1):
        torch.rand(3, device="cuda")
        state, expected = random_state(), torch.rand(3, device="cuda").cpu()
    with pretend_cuda.pretended(devices=2):
        set_random_state(state)
        assert torch.equal(torch.rand(3, device="cuda").cpu(), expected)
        distributed.set_random_states({"rng": state})
        assert not caplog.text
        earlier = state | {"cuda": state["cuda"] * 3}  # of an earlier version, with those of all
        distributed.set_random_states({"rng": earlier})
    assert "the run began with 3 GPUs in sight and continues with 2" in caplog.text


def test_later_calls_compute_where_the_network_was_moved_to(gpu, tmp_path):
    model, common = YOLO(classify(tmp_path)["model"]), {"imgsz": 32, "verbose": False}

    def device(**options):
        return model.predict(IMAGE, **common, **options)[0].probs.data.device

    assert device() == GPU
    assert model.to("cpu").device == device() == torch.device("cpu")
    assert model.cuda().device == device() == GPU
    assert device(device="cpu") == torch.device("cpu")
    model.half()
    assert device() == GPU
    assert model.cpu().device == device() == torch.device("cpu")


def test_images_are_sent_as_bytes_from_pinned_memory(gpu, tmp_path):
    images = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    assert torch.equal(normalized(images, torch.device("cpu"), torch.float32), images.float() / 255)
    assert torch.equal(normalized(images.float() / 255, torch.device("cpu"), torch.float32), images.float() / 255)
    model = YOLO(classify(tmp_path)["model"])
    model.predict(IMAGE, imgsz=32)
    gpu.waits.clear()
    gpu.memory.peak = before = gpu.memory.now
    sent = normalized(images, GPU, torch.float32)
    assert sent.device == GPU and not gpu.waits and gpu.memory.peak >= before + images.numel()
    model.predict(IMAGE, imgsz=32)
    assert not [place for why, place in gpu.waits if why.startswith("copy to the device") and "runtime" in place]


def test_a_training_leaves_nothing_on_the_gpu(gpu, tmp_path):
    """Neither one that ends nor one that fails, and both leave what they have learned."""
    for end in (False, True):
        model, before = YOLO((run := classify(tmp_path / str(end), epochs=1))["model"]), gpu.memory.now
        if end:
            model.add_callback("on_fit_epoch_end", kill)
            with pytest.raises(KilledError):
                model.train(**run)
        else:
            model.train(**run)
        trainer = model.trainer
        moments = [v for state in trainer.optimizer.state.values() for v in state.values() if torch.is_tensor(v)]
        assert moments and not any(v.is_cuda for v in moments)
        assert trainer.model.device == trainer.ema.ema.device == torch.device("cpu")
        del moments
        gc.collect()
        assert gpu.memory.now - before < 2000  # scalars, and buffers of the loss
        # The user's network is where it was, and later calls still take the GPU.
        assert model.predict(IMAGE, imgsz=32)[0].probs.data.device == GPU
        del model, trainer


def test_epochs_are_measured_in_half_precision_and_the_best_weights_in_full(gpu, tmp_path):
    seen = []

    def spy(trainer):
        for network in (trainer.model, trainer.ema.ema):
            network.model[-1].register_forward_pre_hook(
                lambda module, args: seen.append((module.training, args[0].dtype))
            )

    model = YOLO((run := classify(tmp_path, epochs=1))["model"])
    model.add_callback("on_train_start", spy)
    model.train(**run)
    assert (True, torch.float16) in seen and (False, torch.float16) in seen
    assert seen[-1] == (False, torch.float32)


def test_the_average_takes_what_a_checkpoint_holds(monkeypatch):
    """Weights, running statistics and counters in two calls; nothing is listed by name at every step."""
    net = DetectionModel("yolov8n.yaml", verbose=False)
    net.model[0].register_buffer("not_saved", torch.zeros(2), persistent=False)
    average = ModelEMA(net, decay=0.5, tau=1e-9)
    for tensor in (*net.parameters(), *net.buffers()):
        tensor.data.add_(2)
    expected = {k: (v / 1 - 1 if v.is_floating_point() else v) for k, v in net.state_dict().items()}
    monkeypatch.setattr(nn.Module, "state_dict", lambda *_, **__: pytest.fail("it costs more than the update"))
    average.update(net)
    monkeypatch.undo()
    for name, tensor in average.ema.state_dict().items():
        torch.testing.assert_close(tensor, expected[name])
    assert not average.ema.model[0].not_saved.any()


def test_a_traced_file_names_the_kind_of_its_device_alone():
    """So that a file that is made on one GPU computes on another one."""

    class Grid(nn.Module):
        def forward(self, x):
            return x + torch.arange(x.shape[-1], device=x.device)

    script = torch.jit.trace(nn.Sequential(nn.Identity(), Grid()), torch.rand(1, 3, 4), check_trace=False)
    (constant,) = (
        node
        for node in script.get_submodule("1").graph.findAllNodes("prim::Constant")
        if str(node.output().type()) == "Device"
    )
    constant.s_("value", "cuda:1")
    forget_indices(script)
    torch.jit.save(script, file := io.BytesIO())
    with zipfile.ZipFile(file) as archive:
        code = "".join(archive.read(name).decode() for name in archive.namelist() if name.endswith(".py"))
    assert 'torch.device("cuda")' in code and "cuda:1" not in code


def test_norms_are_synchronized_on_gpus_alone(gpu):
    """By torch's own, which keep weights and statistics; in eval mode they compute what the norms did."""
    net = DetectionModel("yolov8n.yaml", verbose=False).eval()
    with pytest.raises(ConfigError, match="torch synchronizes norms between GPUs alone, leave it out on device=cpu"):
        distributed.synchronize_norms(net)
    net.to(GPU)
    parameters, expected = {id(p) for p in net.parameters()}, net(images := torch.rand(1, 3, 64, 64, device=GPU))[0]
    names = list(net.state_dict())
    distributed.synchronize_norms(net)
    norms = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert len(norms) == 57 and all(type(norm) is nn.SyncBatchNorm for norm in norms)
    assert list(net.state_dict()) == names and {id(p) for p in net.parameters()} == parameters
    torch.testing.assert_close(net(images)[0].cpu(), expected.cpu())

    class Clipped(nn.BatchNorm2d):
        def forward(self, x):
            return super().forward(x).clamp(max=1)

    with pytest.raises(ConfigError, match="1 is a Clipped, which does more than a norm; leave sync_bn out"):
        distributed.synchronize_norms(nn.Sequential(nn.Conv2d(3, 4, 1), Clipped(4)).to(GPU))
