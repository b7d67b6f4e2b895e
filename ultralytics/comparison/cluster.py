"""Runs as tasks of a Ray cluster, spread over its GPUs and machines: `ray=True`, or `ray=ADDRESS`."""

import os
import platform
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from multiprocessing import spawn
from pathlib import Path
from typing import Any

import torch

import ultralytics
from ultralytics.comparison.sources import sources
from ultralytics.comparison.training import Failure, Outcome, attempt
from ultralytics.comparison.variants import Run
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.files import import_extra
from ultralytics.utils.torch_utils import device_names

RETRIES = 3  # of a task whose process or machine has died: the run is resumed where its folder is on a shared disk
# What multiprocessing takes to a process that it spawns: folder, command line, and the script, whose lines outside of
# `if __name__ == "__main__":` run there as well, so that the blocks and losses that it registers are known.
CONTEXT = ("dir", "orig_dir", "sys_path", "sys_argv", "init_main_from_name", "init_main_from_path")
_in_task = False


def attempts_on_ray(
    address: str | bool, runs: Iterable[Run], settings: Mapping[str, Any], patience: float = 0
) -> Iterator[tuple[Run, Outcome]]:
    """Outcomes of runs, as they come, each a task of the cluster at `address`; True: this machine's or a new one.

    Tasks that are not over end with this generator. Raises ConfigError for a cluster that is not there or too small.
    """
    if _in_task:
        raise ConfigError('ray=: tasks run this script, too: compare under `if __name__ == "__main__":`')
    if not (runs := list(runs)):
        return
    ray = import_extra("ray", "ray")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # which Ray sends otherwise
    if started := not ray.is_initialized():
        try:
            host, _, port = str(address).rpartition(":")
            if port.isdecimal() and "/" not in host:
                socket.create_connection((host, int(port)), 10).close()  # Ray would try for minutes
            quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
            ray.init(None if address is True else address, **quiet)
        except (OSError, RuntimeError, ValueError) as exc:
            reason = str(exc).splitlines()[0]
            raise ConfigError(f"ray={address}: no Ray cluster can be reached there: {reason}") from exc
    elif address is not True:
        LOGGER.warning(f"ray={address}: this process is on a Ray cluster already, which trains the runs")
    tasks = {}
    try:
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        device, share = share_of_run(machines, settings.get("device"), max(run.options.workers for run in runs))
        path = [str(Path(ultralytics.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
        variables = {"PYTHONPATH": os.pathsep.join(path), "OMP_NUM_THREADS": str(share["CPU"])}
        task = ray.remote(
            num_gpus=share.get("GPU", 0),
            num_cpus=share["CPU"],
            max_calls=1,  # a process for each run, which leaves nothing in the memory of the GPU
            max_retries=RETRIES,
            runtime_env={"env_vars": variables},
        )(attempt_as_task)
        context = {name: value for name, value in spawn.get_preparation_data("").items() if name in CONTEXT}
        tasks = {task.remote(run, {**settings, "device": device}, patience, context): run for run in runs}
        each = " and ".join(f"{count} {kind}" for kind, count in share.items())
        LOGGER.info(f"{len(runs)} runs on a Ray cluster, machines: {len(machines)}, each run with {each}")
        while tasks:
            [done], _ = ray.wait(list(tasks), num_returns=1)
            run = tasks.pop(done)
            try:
                outcome = ray.get(done)
            except ray.exceptions.RayError as exc:
                outcome = Failure.of(run, getattr(exc, "cause", None) or exc)
            yield run, outcome
    finally:
        for left in tasks:
            ray.cancel(left, force=True)
        if started:
            ray.shutdown()


def share_of_run(machines: Sequence[Mapping[str, float]], device: Any, workers: int) -> tuple[str, dict[str, int]]:
    """Device of every run, and its share of a machine: a GPU and a CPU per worker, or a CPU for each thread of torch.

    `machines` are what Ray counts on each. Raises ConfigError where none has as much.
    """
    names, gpus = device_names(device), any(machine.get("GPU") for machine in machines)
    if names and names != ["cpu"] and not gpus:
        LOGGER.warning(f"device={device}: no machine of the Ray cluster has a GPU. Continuing with device=cpu.")
    on_gpu = gpus and names != ["cpu"]
    share = {"GPU": 1, "CPU": max(workers, 1)} if on_gpu else {"CPU": torch.get_num_threads()}
    if not any(all(machine.get(kind, 0) >= count for kind, count in share.items()) for machine in machines):
        lower = "workers=" if on_gpu else "OMP_NUM_THREADS in the environment, the threads of a run"
        taken = " and ".join(f"{count} {kind}" for kind, count in share.items())  # such as 1 GPU and 4 CPU
        raise ConfigError(f"ray=: a run takes {taken}, which no machine of the cluster has: lower {lower}")
    return "0" if on_gpu else "cpu", share  # of the GPUs, a task sees its own alone


def attempt_as_task(run: Run, settings: Mapping[str, Any], patience: float, context: dict[str, Any]) -> Outcome:
    """`attempt`, in the folder and beside the script of the process that compares."""
    global _in_task  # noqa: PLW0603 (the process has this task and no other)
    _in_task = True
    machine, folder = platform.node(), context["dir"]
    try:
        if not Path(folder).is_dir():
            raise ConfigError(f"{machine} has no folder {folder}: code, data and weights need the same path everywhere")
        spawn.prepare({**context, "sys_path": [*context["sys_path"], *sys.path]})
        if sources(run.variant.model, run.options) != run.sources:
            raise ConfigError(f"{machine} has other code of the layers or the loss than the machine that compares")
    except Exception as exc:  # of the script
        return Failure.of(run, exc)
    return attempt(run, settings, patience)
