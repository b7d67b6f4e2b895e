"""Several processes that train one run, each on a device of its own: torchrun starts them, or `device=0,1` does.

They have shares of the same batches (data/build.py), average their gradients, and decide everything alike; the first
of them writes and logs. In a process that trains alone these functions do nothing.
"""

import logging
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from functools import cache, partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import current_thread, main_thread
from typing import Any, NoReturn, TypeVar
from uuid import uuid4

import torch
from torch import distributed, nn

from ultralytics.cfg import Options
from ultralytics.engine.state import random_state, seed_all, set_random_state
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import ConfigError, DeviceError, TrainingError, YOLOError
from ultralytics.utils.files import atomic_write
from ultralytics.utils.processes import gather_items, process_rank
from ultralytics.utils.torch_utils import device_names, select_device, torch_distributed_zero_first

T = TypeVar("T")
ModelT = TypeVar("ModelT", bound=nn.Module)
TIMEOUT = timedelta(hours=3)  # in which the others wait for what one does, such as a scan of labels
PATIENCE = 5  # seconds in which torchrun ends a process whose partner has ended, before it says so itself
RESULTS = "YOLO_LAUNCH_RESULTS"  # folder where processes that `launch` has started leave what train() gives

# Together ------------------------------------------------------------------------------------------------------------


def started() -> bool:
    """Whether torchrun, or what sets the same variables, has started this process beside others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and {"RANK", "MASTER_ADDR"} <= os.environ.keys()


def is_first() -> bool:
    """Whether this process is the one that writes and logs; known before `join` and after the run as well."""
    return not started() or os.environ["RANK"] == "0"


def join(options: Options, device: torch.device) -> Options:
    """Meet the processes that were started beside this one; its own options: all but the first draw and log nothing."""
    if not started():
        return options
    if not distributed.is_initialized():
        if device.type == "cuda":
            torch.cuda.set_device(device)
        # Counts and flags are on the CPU, whatever the device.
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        store, rank, processes = meeting_point()
        store = distributed.PrefixStore(f"run {next(_runs)}", store)  # nothing is left of an earlier run
        distributed.init_process_group(backend, store=store, rank=rank, world_size=processes, timeout=TIMEOUT)
        if is_first():
            LOGGER.info(f"{process_rank()[1]} processes train one run, the first of them on {device}")
        else:
            LOGGER.setLevel(logging.ERROR)  # of the others nothing else is logged from now on
    return options if is_first() else options.replace(verbose=False, plots=False, save_json=False)


@cache
def meeting_point() -> tuple[Any, int, int]:
    """Store through which the processes find each other, the number of this one and how many they are."""
    from torch.distributed.rendezvous import rendezvous  # not in every build of torch

    return next(rendezvous("env://", timeout=TIMEOUT))


@contextmanager
def session() -> Iterator[None]:
    """Disconnect the processes at the end of a run; where another one has ended, wait to be ended, too."""
    try:
        yield
    except RuntimeError as exc:
        if process_rank()[1] == 1 or not (isinstance(exc, distributed.DistError) or "gloo" in str(exc)):
            raise
        time.sleep(PATIENCE)
        raise TrainingError("another process of this run has ended: what it said is the reason") from exc
    if process_rank()[1] > 1:
        distributed.barrier()  # for what the first process writes last
        distributed.destroy_process_group()


def first_of_machine() -> AbstractContextManager:
    """Context that the first process of each machine passes before the others: it draws, scans and fills caches."""
    return torch_distributed_zero_first(int(os.environ.get("LOCAL_RANK", "-1")))


def first(make: Callable[[], T]) -> T:
    """Value that the first process makes, in all of them."""
    if process_rank()[1] == 1:
        return make()
    value = [make() if is_first() else None]
    distributed.broadcast_object_list(value)
    return value[0]


def check(batch: int, run_dir: Path) -> None:
    """Raise ConfigError for a batch without an image for every process, or a run folder that one does not see."""
    if batch < (processes := process_rank()[1]):
        raise ConfigError(f"batch={batch}: it is that of all {processes} processes together; give at least {processes}")
    if not run_dir.is_dir():
        raise ConfigError(
            f"{run_dir} was made by the first process of this run, and this machine does not see it: "
            "give project=, a folder on a disk that all machines share"
        )


@torch.no_grad()
def share_weights(model: ModelT) -> ModelT:
    """The network, with the weights that it has in the first process."""
    for tensor in model.state_dict().values() if process_rank()[1] > 1 else ():
        numbers = tensor.to(torch.uint8) if tensor.dtype == torch.bool else tensor.contiguous()
        distributed.broadcast(numbers, 0)
        tensor.copy_(numbers)
    return model


def part(model: nn.Module, options: Options) -> None:
    """Let the processes, whose networks are alike by now, draw random numbers of their own.

    With `sync_bn` the norms learn from the batches of all processes; that changes `model`, not its parameters.
    """
    rank, processes = process_rank()
    if options.sync_bn and processes > 1:
        synchronize_norms(model)
    if rank:
        seed_all((options.seed + rank) % 2**63)


def synchronize_norms(model: nn.Module) -> None:
    """Replace the norms of a network by norms that take statistics over all processes."""
    if (device := next(model.parameters()).device).type != "cuda":
        raise ConfigError(f"sync_bn=True: torch synchronizes norms between GPUs alone, leave it out on device={device}")
    base = nn.modules.batchnorm._BatchNorm
    for name, m in model.named_modules():
        if isinstance(m, base) and not isinstance(m, nn.SyncBatchNorm) and type(m).forward is not base.forward:
            kind = type(m).__name__
            raise ConfigError(f"sync_bn=True: {name} is a {kind}, which does more than a norm; leave sync_bn out")
    nn.SyncBatchNorm.convert_sync_batchnorm(model)


# Random states -------------------------------------------------------------------------------------------------------


def random_states() -> dict[str, Any]:
    """Random states of all processes, for last.pt."""
    first, *others = gather_items(random_state())
    return {"rng": first, "rng_of_others": others}


def set_random_states(saved: dict[str, Any]) -> None:
    """Let every process draw on from its own state; say so where there are more or fewer than there were."""
    rank, processes = process_rank()
    states = [saved["rng"], *saved.get("rng_of_others", [])]
    if len(states) != processes:
        LOGGER.warning(
            f"the run had {len(states)} processes and continues with {processes}: with the same batches, but not to "
            "the bit, and with other random numbers in blocks that draw them"
        )
    if rank < len(states):
        set_random_state(states[rank])
        if len(states[rank]["cuda"]) not in (0, 1, torch.cuda.device_count()) and torch.cuda.is_available():
            LOGGER.warning(
                f"the run began with {len(states[rank]['cuda'])} GPUs in sight and continues with "
                f"{torch.cuda.device_count()}: blocks that draw random numbers there get others"
            )


# Starting them -------------------------------------------------------------------------------------------------------

_calls = count()  # of train() with several devices, in this process
_runs = count()  # that this process has taken part in
results = cache(partial(TemporaryDirectory, prefix="yolo-"))  # what the processes that this one has started leave


def check_devices(device: Any) -> None:
    """Raise DeviceError for a device that is not there, of several for each."""
    names = device_names(device)
    if started() or len(names) < 2:
        select_device(device)
        return
    for name in names:
        select_device(name)
    if repeated := {name for name in names if names.count(name) > 1 and name != "cpu"}:
        raise DeviceError(f"device={','.join(names)}: {min(repeated)} is named twice; name each GPU once")


def in_processes(device: Any, save: bool, run: Callable[[], T]) -> T:
    """Result of `run`; where `device` names several, that of as many processes, which run this whole script as well.

    They end with this call; what comes after it in the script is done once, here. Elsewhere `run` is called as it is.
    """
    names, folder = device_names(device), os.environ.get(RESULTS)
    if len(names) < 2 or (folder is None and started()):
        return run()
    if not save:
        raise ConfigError(
            f"save=False: the processes of device={','.join(names)} leave nothing without it; leave it out"
        )
    result = Path(folder or results().name) / str(next(_calls))
    if folder is None:
        try:
            check_devices(device)
            launch(len(names))
        except (YOLOError, KeyboardInterrupt) as exc:  # for processes of a later call, which pass this one again
            atomic_write(result, partial(pickle.dump, exc))
            raise
    if not result.exists():
        leave_result(result, run)
    value = pickle.loads(result.read_bytes())  # of a process that this one started, or of an earlier call
    if isinstance(value, BaseException):
        raise value
    return value


def leave_result(file: Path, run: Callable[[], object]) -> NoReturn:
    """Write what `run` gives for the process that has started this one, or the reason of a failure, and end."""
    from torch.distributed.elastic.multiprocessing.errors import get_error_handler

    try:
        value = run()
    except KeyboardInterrupt:  # train() has logged it; threads of gloo would not survive an orderly end
        sys.stdout.flush()
        os._exit(128 + signal.SIGINT)
    except Exception as exc:
        get_error_handler().record_exception(exc)
        if isinstance(exc, YOLOError):  # it says the sentence
            sys.exit(1)
        raise
    if is_first():
        atomic_write(file, partial(pickle.dump, value))
    sys.exit()


def launch(processes: int) -> None:
    """Run this script in several processes to their end, which they leave in the folder `results`."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    if len(sys.orig_argv) < 2 or hasattr(sys, "ps1") or "ipykernel" in sys.modules or "-" in sys.orig_argv[1:]:
        raise ConfigError(
            "several devices: each gets a process that runs the same script, and this is none that could be run again; "
            "save it as a file, or name one device"
        )
    added = {RESULTS: results().name, "OMP_NUM_THREADS": str(max((os.cpu_count() or 1) // processes, 1))} | os.environ
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
    )
    for module in ("agent.server", "multiprocessing"):  # their warnings say that processes are ended
        logging.getLogger(f"torch.distributed.elastic.{module}.api").setLevel(logging.ERROR)
    ended_by = None
    try:
        with unchanged():
            os.environ.update(added)
            elastic_launch(config, sys.executable)(*sys.orig_argv[1:])
    except SignalException as exc:
        ended_by = exc.sigval
    except ChildFailedError as exc:
        rank, failure = exc.get_first_failure()
        reason = failure.message["message"] if isinstance(failure.message, dict) else failure.message
        raise TrainingError(f"process {rank} of {processes}: {reason}") from None
    if ended_by is not None:
        signal.raise_signal(ended_by)  # does what it would have done without them, such as a KeyboardInterrupt
        raise TrainingError(f"the {processes} processes were ended by {signal.Signals(ended_by).name}")


@contextmanager
def unchanged() -> Iterator[None]:
    """Restore the environment and what signals do, both of which the API of torchrun changes."""
    environment = dict(os.environ)
    names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT")
    handlers = {number: signal.getsignal(number) for name in names if (number := getattr(signal, name, None))}
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(environment)
        for number, handler in handlers.items() if current_thread() is main_thread() else ():
            if handler is not None:  # else it was not set by Python
                signal.signal(number, handler)
