"""A CUDA device that is not there, for tests of code that means a GPU on a machine that has none.

`GpuTensor` is a tensor whose device is cuda:N and which holds a CPU tensor. Everything above the kernels is torch's own
and sees CUDA tensors: Python, autograd, CUDA's autocast with its lists of ops, GradScaler, foreach optimizers. Below,
`PretendedGpu` takes every op of the process, checks what CUDA would check, and computes on the CPU.

    error      tensors of several devices in one op (CPU scalars of 0 dimensions are fine in pointwise ops, CPU indices
               in indexing), .numpy() on the device, a CPU generator for a draw on the device, running out of `memory`
    `waits`    every wait of the host for the device, by reason and place: what torch.cuda.set_sync_debug_mode shows

It cannot show what only a GPU can: numbers (order of summation, TF32, algorithms of cuDNN), speed, workspaces and
fragments of memory, races, kernels that lack a type, torch.compile. An op that waits twice, as bincount, counts once,
and the gradient of `prod` waits there and not here. It needs a torch that is built with CUDA, and no real GPU.
"""

import ctypes
import inspect
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_flatten, tree_map_only, tree_unflatten

import ultralytics

ROOT = Path(ultralytics.__file__).parent
aten = torch.ops.aten
HALVES = (torch.float16, torch.bfloat16)

# Ops that wait for the device because the host must know a value, or the size of the result.
WAITS = {
    *("_local_scalar_dense", "nonzero", "masked_select", "bincount", "equal", "_unique2", "unique_dim", "nms"),
    *("unique_consecutive", "repeat_interleave"),
}
PRODUCTS = {"convolution", "convolution_backward", "mm", "addmm", "bmm", "baddbmm"}  # float32 inside, on CUDA
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}
COPIES = {"_to_copy", "copy_", "_foreach_copy_"}
TAKES_SCALARS = {"fill_", "masked_fill", "masked_fill_", *INDEXING}  # beside pointwise ops: CPU tensors of 0 dimensions


class Memory:
    """Bytes of the storages that tensors on the device hold."""

    def __init__(self, total: float) -> None:
        self.total, self.now, self.peak = total, 0, 0
        self.held: dict[int, list[int]] = {}  # by address of the storage: tensors that hold it, bytes

    def lease(self, elem: Tensor) -> "Lease":
        """Count the storage of a tensor as long as the answer lives; torch.OutOfMemoryError where it does not fit."""
        storage = elem.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self.held:
            if self.now + size > self.total:
                raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {size}, {self.now} in use")
            self.held[key] = [0, size]
            self.now += size
            self.peak = max(self.peak, self.now)
        self.held[key][0] += 1
        return Lease(self, key)


class Lease:
    """One tensor's hold on a storage."""

    def __init__(self, memory: Memory, key: int) -> None:
        self.memory, self.key = memory, key

    def __del__(self) -> None:
        held = self.memory.held.get(self.key)
        if held is not None:
            held[0] -= 1
            if not held[0]:
                self.memory.now -= held[1]
                del self.memory.held[self.key]


class GpuTensor(Tensor):
    """A tensor on cuda:N whose numbers are in `_elem`, on the CPU."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, elem: Tensor, device: torch.device, gpu: "PretendedGpu") -> "GpuTensor":
        if elem.dtype in gpu.lacks:
            raise TypeError(f"Cannot convert a tensor to {elem.dtype}, which this device does not have")
        made = Tensor._make_wrapper_subclass(
            cls, elem.size(), strides=elem.stride(), storage_offset=elem.storage_offset(), dtype=elem.dtype,
            layout=elem.layout, device=device,
        )  # fmt: skip
        made._elem, made._gpu, made._lease = elem, gpu, gpu.memory.lease(elem)
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        (gpu, *_) = (x._gpu for x in tree_flatten((args, kwargs))[0] if isinstance(x, GpuTensor))
        return gpu.run(func, args, kwargs or {})

    def __deepcopy__(self, memo: dict) -> "GpuTensor":
        if id(self) in memo:
            return memo[id(self)]
        if not self.is_leaf:
            raise RuntimeError("Only Tensors created explicitly by the user support the deepcopy protocol")
        with torch.no_grad():
            copy = self.detach().clone()
            if self.grad is not None:
                copy.grad = self.grad.detach().clone()
        parameter = getattr(self, "_is_param", False)
        memo[id(self)] = copy = nn.Parameter(copy, self.requires_grad) if parameter else copy
        return copy.requires_grad_(self.requires_grad)

    def __reduce_ex__(self, protocol: int) -> Any:
        raise RuntimeError("a tensor on the pretended device is pickled: .cpu() it first")

    def record_stream(self, stream: Any) -> None:
        """Memory is free when nothing holds it, whichever stream has used it."""

    def data_ptr(self) -> int:
        """Address of the numbers, as good as any."""
        return self._elem.data_ptr()

    def numpy(self, *, force: bool = False) -> Any:
        """As torch answers for a tensor on the device."""
        if force:
            return self.detach().cpu().numpy()
        raise TypeError(f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() first")

    def tolist(self) -> Any:
        """A copy to the CPU, as for any tensor on the device."""
        return self.detach().cpu().tolist()

    def __repr__(self, **_: Any) -> str:
        return f"GpuTensor({self._elem!r}, device='{self.device}')"


class PretendedGpu(TorchDispatchMode):
    """Takes every op of the process; see the top of the file."""

    def __init__(self, devices: int, memory: float) -> None:
        super().__init__()
        self.devices, self.current, self.memory = devices, 0, Memory(memory)
        self.lacks: set[torch.dtype] = set()  # types that it refuses, as MPS does float64
        self.waits: Counter[tuple[str, str]] = Counter()  # by reason and place
        self.generators = [torch.Generator().manual_seed(0) for _ in range(devices)]  # stand in for the devices' own

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else torch._dynamo is imported, for seconds

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return self.run(func, args, kwargs or {})

    def waited(self, why: str) -> None:
        """Note a wait, in the backward pass at the node that runs, else at the innermost function of the package."""
        node, frame = torch._C._current_autograd_node(), inspect.currentframe()
        while node is None and frame and not frame.f_code.co_filename.startswith(str(ROOT)):
            frame = frame.f_back
        file = Path(frame.f_code.co_filename) if frame and node is None else None
        where = f"{file.relative_to(ROOT).as_posix()} {frame.f_code.co_name}" if file else "elsewhere"
        self.waits[why, f"backward of {node.name()}" if node is not None else where] += 1

    def run(self, func: Any, args: tuple, kwargs: dict) -> Any:
        """One op: check, compute on the CPU, wrap what comes out."""
        flat, spec = tree_flatten((args, kwargs))
        mine = [x for x in flat if isinstance(x, GpuTensor)]
        target = self._target(kwargs, mine)
        if not mine and target is None:
            return func(*args, **kwargs)
        name = func._schema.name.split("::")[1]
        others = [x for x in flat if isinstance(x, Tensor) and not isinstance(x, GpuTensor)]
        self._check_devices(func, name, args, mine, others)
        if why := self._why_wait(name, args, kwargs, mine, others, target):
            self.waited(why)

        known = {id(x): x for x in others} | {id(x._elem): x for x in mine}  # what an in-place op gives back
        args, kwargs = tree_unflatten([x._elem if isinstance(x, GpuTensor) else x for x in flat], spec)
        found = self._compute(func, name, args, self._on_cpu(func, kwargs, target))
        if target is None or target.type != "cuda":
            return found
        return tree_map_only(Tensor, lambda t: known[id(t)] if id(t) in known else GpuTensor(t, target, self), found)

    def _target(self, kwargs: dict, mine: list[GpuTensor]) -> torch.device | None:
        """Device of what comes out; None where no device but the CPU has a part in it."""
        asked = kwargs.get("device")
        if asked is None:
            return mine[0].device if mine else None
        asked = torch.device(asked)
        if asked.type != "cuda":
            return asked if mine else None
        index = self.current if asked.index is None else asked.index
        if index >= self.devices:
            raise torch.AcceleratorError("CUDA error: invalid device ordinal")
        return torch.device("cuda", index)

    def _check_devices(self, func: Any, name: str, args: tuple, mine: list[GpuTensor], others: list[Tensor]) -> None:
        """Refuse what CUDA refuses: tensors of two devices in one op."""
        if name in COPIES or not mine:
            return
        if name in INDEXING:  # indices may be on the CPU, but not on a device if what they index is not
            if not isinstance(args[0], GpuTensor):
                raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor (cpu)")
            others = [t for t in args[2:3] if not isinstance(t, GpuTensor)]
        if torch.Tag.pointwise in func.tags or name in TAKES_SCALARS or name.startswith(("lerp", "_foreach")):
            others = [t for t in others if t.ndim]
        devices = sorted({str(t.device) for t in (*mine, *others)})
        if len(devices) > 1:
            found = " and ".join(devices)
            raise RuntimeError(f"Expected all tensors to be on the same device, but found {found} in {func}")

    @staticmethod
    def _why_wait(
        name: str, args: tuple, kwargs: dict, mine: list, others: list, target: torch.device | None
    ) -> str | None:
        """Why the host waits for an op; None where it does not."""
        if name in WAITS and mine:
            return None if name == "repeat_interleave" and kwargs.get("output_size") is not None else name
        if name in INDEXING:
            indices = [i for i in args[1] if i is not None]
            masked = name != "index" and len(indices) == 1 and args[2].numel() == 1  # becomes masked_fill
            if any(i.dtype in (torch.bool, torch.uint8) for i in indices) and not masked:
                return f"{name} by a mask"
            return None if all(isinstance(i, GpuTensor) for i in indices) else f"{name} by indices on the CPU"
        if name not in COPIES or not (others or not mine or (target is not None and target.type != "cuda")):
            return None
        source = args[0] if name == "_to_copy" else args[1]
        source = source[0] if isinstance(source, list | tuple) else source
        there = isinstance(source, GpuTensor)
        loose = kwargs.get("non_blocking") or (name != "_to_copy" and len(args) > 2 and args[2])
        if loose and (there or getattr(source, "_pinned", False)):
            return None
        return f"copy to the {'CPU' if there else 'device'}{', not pinned' if loose else ''}"

    def _on_cpu(self, func: Any, kwargs: dict, target: torch.device | None) -> dict:
        """Keyword arguments for the CPU; draws come from the device's own generator."""
        kwargs = {k: v for k, v in kwargs.items() if k != "pin_memory"}
        if kwargs.get("device") is not None:
            kwargs["device"] = torch.device("cpu")
        if target is not None and target.type == "cuda" and any(a.name == "generator" for a in func._schema.arguments):
            given = kwargs.get("generator")
            if given is not None and given not in self.generators:
                raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
            kwargs["generator"] = given or self.generators[target.index]
        return kwargs

    def _compute(self, func: Any, name: str, args: tuple, kwargs: dict) -> Any:
        """The op on CPU tensors."""
        if name == "cudnn_batch_norm":
            x, *rest = args
            y, *statistics = aten.native_batch_norm(x.float(), *rest)
            return (y.to(x.dtype), *statistics, torch.empty(0, dtype=torch.uint8))
        if name == "cudnn_batch_norm_backward":
            x, grad, weight, mean, var, save_mean, save_var, eps, _ = args
            done = aten.native_batch_norm_backward(
                grad.float(), x.float(), weight, mean, var, save_mean, save_var, True, eps, [True] * 3
            )
            return (done[0].to(x.dtype), *done[1:])
        if name in ("_softmax", "_log_softmax") and args[2]:  # half in, float32 out, in one kernel
            return func(args[0].float(), args[1], False)
        if name in PRODUCTS and args[0].dtype in HALVES:
            half = args[0].dtype
            args = tree_map_only(Tensor, lambda t: t.float() if t.dtype in HALVES else t, args)
            return tree_map_only(Tensor, lambda t: t.to(half), func(*args, **kwargs))
        return func(*args, **kwargs)


def can_pretend() -> str:
    """Why no GPU can be pretended here; empty where one can."""
    if sys.platform != "linux":
        return "a pretended GPU needs Linux"
    if torch.version.cuda is None:
        return "a pretended GPU needs a torch that is built with CUDA"
    if not hasattr(torch._C, "_ensureCUDADeviceGuardSet"):
        return f"a pretended GPU needs a newer torch than {torch.__version__}"
    return "there is a real GPU" if torch.cuda.is_available() else ""


@cache
def prepare() -> None:
    """Make autograd ready for devices without a context; before the first backward pass, once in a process.

    Autograd asks whether a device has a context, which CUDA refuses to answer without a driver, by a virtual function
    of an object that libtorch_cpu exports. The object gets a copy of its table in which that function is the one that
    says whether CUDA is available: no. Their places follow from the header in the wheel.
    """
    torch._C._ensureCUDADeviceGuardSet()  # a guard that does nothing, as fake tensors have
    folder = Path(torch.__file__).parent
    header = (folder / "include/ATen/detail/AcceleratorHooksInterface.h").read_text(encoding="utf-8")
    virtual = [line for line in header.splitlines() if line.strip().startswith("virtual ")]
    asked, no = (  # two words stand in front of the functions, of which the destructor has two
        3 + next(i for i, line in enumerate(virtual) if name in line) for name in ("hasPrimaryContext", "isAvailable")
    )
    library = ctypes.CDLL(str(folder / "lib/libtorch_cpu.so"))
    library._ZN2at6detail12getCUDAHooksEv.restype = ctypes.c_void_p
    hooks = ctypes.cast(library._ZN2at6detail12getCUDAHooksEv(), ctypes.POINTER(ctypes.c_void_p))
    before = ctypes.cast(hooks[0] - 16, ctypes.POINTER(ctypes.c_void_p))
    table = (ctypes.c_void_p * 96)(*before[:96])
    table[asked] = table[no]
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(table))  # C++ points to it until the process is over
    hooks[0] = ctypes.addressof(table) + 16


@contextmanager
def pretended(devices: int = 1, memory: float = 24e9) -> Iterator[PretendedGpu]:
    """Pretend GPUs meanwhile, each of `memory` bytes, which they share here."""
    prepare()
    gpu = PretendedGpu(devices, memory)
    with pytest.MonkeyPatch.context() as patch:
        for module in map(import_module, ("torch.utils._foreach_utils", "torch.optim.optimizer")):
            types = [*module._foreach_supported_types, GpuTensor]  # as torch's own are, on CUDA
            patch.setattr(module, "_foreach_supported_types", types)
        patch.setattr(nn.Module, "_apply", _swapping(nn.Module._apply))
        patch.setattr(torch.jit, "save", _without_mode(torch.jit.save))  # compares in ways that no mode can follow
        patch.setattr(Tensor, "pin_memory", _pin_memory)
        patch.setattr(Tensor, "is_pinned", lambda self, device=None: getattr(self, "_pinned", False))
        _patch_cuda(patch, gpu)
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device=cuda): made on the CPU, copied by an op
        try:
            with gpu:
                yield gpu
        finally:
            torch._C._set_only_lift_cpu_tensors(False)
            torch.__future__.set_swap_module_params_on_conversion(False)


def _patch_cuda(patch: pytest.MonkeyPatch, gpu: PretendedGpu) -> None:
    """What torch.cuda and torch.accelerator answer."""
    memory, generators = gpu.memory, gpu.generators
    about = SimpleNamespace(name="Pretended GPU", total_memory=int(memory.total), major=8, minor=6)

    def index_of(device: Any = None) -> int:
        index = device if isinstance(device, int) else None if device is None else torch.device(device).index
        return gpu.current if index is None else index

    def exchange(index: int) -> int:
        before, gpu.current = gpu.current, gpu.current if index < 0 else index
        return before

    class Event:
        """A mark in a stream that has been passed as soon as it is set: kernels are done when they are called."""

        def record(self, stream: Any = None) -> None:
            self.is_recorded = True

        def synchronize(self) -> None:
            assert self.is_recorded

    class Stream:
        """One of several streams; nothing runs at the same time."""

        def __init__(self, device: Any = None) -> None:
            self.device = torch.device("cuda", index_of(device))

        def wait_stream(self, stream: "Stream") -> None:
            assert stream.device == self.device

    peak = dict.fromkeys(("memory_reserved", "max_memory_allocated", "max_memory_reserved"), lambda _=None: memory.peak)
    answers = peak | {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "is_bf16_supported": lambda including_emulation=True: True,
        "is_current_stream_capturing": lambda: False,
        "Event": Event,
        "Stream": Stream,
        "current_stream": Stream,
        "stream": lambda stream: nullcontext(),
        **dict.fromkeys(("_lazy_init", "init", "empty_cache"), lambda: None),
        "_lazy_call": lambda function, **_: function(),
        "device_count": lambda: gpu.devices,
        "current_device": lambda: gpu.current,
        "set_device": lambda device: exchange(index_of(device)),
        **dict.fromkeys(("_exchange_device", "_maybe_exchange_device"), exchange),
        "get_device_properties": lambda device=None: about,
        "get_device_name": lambda device=None: about.name,
        "get_device_capability": lambda device=None: (about.major, about.minor),
        "get_arch_list": lambda: ["sm_75", "sm_80", "sm_86"],
        "synchronize": lambda device=None: gpu.waited("synchronize"),
        "mem_get_info": lambda device=None: (int(memory.total - memory.now), int(memory.total)),
        "memory_allocated": lambda device=None: memory.now,
        "reset_peak_memory_stats": lambda device=None: setattr(memory, "peak", memory.now),
        "manual_seed": lambda seed: generators[gpu.current].manual_seed(int(seed)),
        "manual_seed_all": lambda seed: [g.manual_seed(int(seed)) for g in generators],
        "get_rng_state": lambda device="cuda": generators[index_of(device)].get_state(),
        "set_rng_state": lambda state, device="cuda": generators[index_of(device)].set_state(state),
        "get_rng_state_all": lambda: [g.get_state() for g in generators],
        "set_rng_state_all": lambda states: [g.set_state(s) for g, s in zip(generators, states, strict=True)],
    }
    for module in (torch.cuda, torch.cuda.random, torch.cuda.memory):
        for name in answers if module is torch.cuda else answers.keys() & vars(module).keys():
            patch.setattr(module, name, answers[name])
    patch.setattr(torch.accelerator, "is_available", answers["is_available"])
    patch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: torch.device("cuda"))
    patch.setattr(torch.accelerator, "device_count", answers["device_count"])
    patch.setattr(torch.accelerator, "current_device_index", answers["current_device"])
    patch.setattr(torch.accelerator, "set_device_index", answers["set_device"])


def _swapping(apply: Callable) -> Callable:
    """module.to() gives a parameter another tensor's data, which a wrapper has none of: it swaps the two instead."""

    def call(self: nn.Module, *args: Any, **kwargs: Any) -> nn.Module:
        torch.__future__.set_swap_module_params_on_conversion(not isinstance(self, torch.jit.ScriptModule))
        return apply(self, *args, **kwargs)

    return call


def _without_mode(function: Callable) -> Callable:
    def call(*args: Any, **kwargs: Any) -> Any:
        with _disable_current_modes():
            return function(*args, **kwargs)

    return call


def _pin_memory(self: Tensor, device: Any = None) -> Tensor:
    """Pinned memory is a mark on a copy; a copy from memory without it keeps the host waiting."""
    if isinstance(self, GpuTensor):
        raise RuntimeError("cannot pin 'torch.cuda.FloatTensor' only dense CPU tensors can be pinned")
    pinned = self.clone()
    pinned._pinned = True
    return pinned
