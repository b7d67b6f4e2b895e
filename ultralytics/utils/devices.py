"""From what a user writes for `device` to a torch device that is there."""

import torch

from ultralytics.utils.errors import DeviceError, NoGPUError

Device = int | str | torch.device | list | tuple | None


def select_device(device: Device = None) -> torch.device:
    """Device for 0, "0", [0], "cuda:0", "cpu", "mps"; None takes the first CUDA device, else the CPU.

    Raises DeviceError saying why a device is not there, or what could have been written; NoGPUError if there is no GPU.
    """
    name = _normalise(device)
    if name == "":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    if "," in name:
        raise DeviceError(
            f"device={name}: several devices come later; name one, for example device={name.split(',')[0]}"
        )
    if name == "cpu":
        return torch.device("cpu")
    if name == "mps":
        return _mps()
    if name.isdecimal():
        return _cuda(int(name))
    raise DeviceError(f"device={device!r}: expected an index such as 0, 'cuda:0', 'cpu', 'mps' or None")


def _normalise(device: Device) -> str:
    """Lower-case text without brackets, blanks and the `cuda:` in front of indices."""
    if device is None:
        return ""
    if isinstance(device, (list, tuple)):
        return ",".join(_normalise(d) for d in device)
    text = "".join(c for c in str(device).lower() if c not in "[]() '\"")
    parts = ("0" if part == "cuda" else part.removeprefix("cuda:") for part in text.split(","))
    return ",".join("mps" if part == "mps:0" else part for part in parts if part not in ("", "none"))


def _cuda(index: int) -> torch.device:
    """CUDA (or ROCm) device of an index, if there is one."""
    if torch.version.cuda is None and torch.version.hip is None:
        raise NoGPUError(
            f"device={index}: this torch ({torch.__version__}) is built without CUDA; "
            "install a CUDA build of torch (pytorch.org) or use device=cpu"
        )
    if not torch.cuda.is_available():
        raise NoGPUError(
            f"device={index}: torch {torch.__version__} finds no usable GPU; "
            "check the driver (nvidia-smi) and CUDA_VISIBLE_DEVICES, or use device=cpu"
        )
    count = torch.cuda.device_count()
    if index >= count:
        there = "only device 0 is" if count == 1 else f"devices 0 to {count - 1} are"
        raise DeviceError(f"device={index}: there is no such GPU; {there} there")
    return torch.device("cuda", index)


def _mps() -> torch.device:
    """Apple's GPU, if this torch was built for it and the system offers it."""
    if not torch.backends.mps.is_built():
        raise NoGPUError("device=mps: this torch is built without MPS, which is for macOS; use device=cpu")
    if not torch.backends.mps.is_available():
        raise NoGPUError("device=mps: this Mac offers no MPS device (macOS 12.3 or newer needed); use device=cpu")
    return torch.device("mps")
