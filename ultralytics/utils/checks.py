"""Checks of versions, packages, files and sizes, as scripts begin with: they name what is missing, install nothing."""

import math
import re
from collections.abc import Collection, Iterable, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from ultralytics.utils import LOGGER, PYTHON_VERSION, ROOT, refused
from ultralytics.utils.errors import ConfigError, DependencyError, DeviceError, NoGPUError
from ultralytics.utils.files import nearest, parse_value

if TYPE_CHECKING:
    import torch

MIN_TORCH = "2.7.1"  # as in requirements.txt

__getattr__ = refused.getter(__name__)  # public names that are not here say what to use instead


class MissingPackageError(DependencyError, ModuleNotFoundError):
    """A package or version that is not installed; scripts that try an import catch it as well."""


class MissingFileError(ConfigError, FileNotFoundError):
    """A file that is nowhere to be found."""


def is_ascii(s: Any) -> bool:
    """Whether a text, or what an object is printed as, has ASCII characters only."""
    return str(s).isascii()


def check_version(
    current: str = "0.0.0",
    required: str | None = "0.0.0",
    name: str = "version",
    hard: bool = False,
    verbose: bool = False,
    msg: str = "",
) -> bool:
    """Whether a version, or that of an installed package of this name, satisfies `required`, such as ">=1.8,<2".

    A number alone or after ~=, ~ or ^ asks for at least that version, as in the public package. Release candidates,
    nightly and local builds (2.9.0+cu126) count as the release they are named after. Otherwise a warning with
    `verbose`, MissingPackageError with `hard`.
    """
    if not current or not required:
        return True
    if not current.lstrip("v")[:1].isdigit():  # the name of a package
        name, package = current, current
        try:
            current = metadata.version(package)
        except metadata.PackageNotFoundError as exc:
            if hard:
                raise MissingPackageError(f"{package}{required} is required but not installed {msg}".strip()) from exc
            return False
    try:
        release = Version(current).base_version  # 2.10.0.dev20251101+cu130 is 2.10.0
        wanted = [re.sub(r"^(~=|~|\^)?\s*(?=\d)", ">=", part.strip()) for part in required.split(",")]
        fits = SpecifierSet(",".join(wanted)).contains(release)
    except ValueError as exc:  # of packaging: InvalidVersion, InvalidSpecifier
        raise ConfigError(f"check_version({current!r}, {required!r}): {exc}") from exc
    if not fits:
        sentence = f"{name}{required} is required, but {name}=={current} is installed {msg}".strip()
        if hard:
            raise MissingPackageError(sentence)
        if verbose:
            LOGGER.warning(sentence)
    return fits


def check_python(minimum: str = "3.8.0", hard: bool = True, verbose: bool = False) -> bool:
    """Whether this Python is at least `minimum`."""
    return check_version(PYTHON_VERSION, minimum, "Python", hard, verbose)


def require_torch() -> None:
    """Raise MissingPackageError if torch is older than what the tests pass with."""
    import torch  # here, as checks come before heavy imports

    check_version(
        torch.__version__, f">={MIN_TORCH}", "torch", hard=True, msg="here: see pytorch.org for how to update"
    )


def check_requirements(
    requirements: str | Path | Iterable[str | Sequence[str]] = ROOT.parent / "requirements.txt",
    exclude: Collection[str] = (),
    install: bool = True,
    cmds: str = "",
) -> bool:
    """Whether packages are installed: a Path to a requirements file, a requirement, or several.

    A tuple among them holds alternatives. Logs what is missing and the command that would install it; nothing is ever
    installed, so `install` changes nothing and `cmds`, options for pip, only appear in that command.
    """
    if isinstance(requirements, Path):
        requirements = requirements.read_text(encoding="utf-8").splitlines()
    missing = []
    for entry in [requirements] if isinstance(requirements, str) else requirements:
        parsed = []
        for line in [entry] if isinstance(entry, str) else entry:
            text = line.partition("#")[0].strip()
            try:
                parsed += [Requirement(text)] if text else []
            except InvalidRequirement as exc:
                raise ConfigError(f"{text!r} is not a requirement such as 'numpy>=1.26': {exc}") from exc
        # a marker such as `; python_version < "3.11"` may say that the package is not needed here
        parsed = [r for r in parsed if r.name not in exclude and (r.marker is None or r.marker.evaluate())]
        # alternatives, of which one is enough
        if parsed and not any(map(_is_installed, parsed)):
            missing.append(str(parsed[0]))
    if missing:
        words = " ".join(f'"{requirement}"' for requirement in missing)
        LOGGER.warning(f"not installed: {', '.join(missing)}; run `{f'pip install {words} {cmds}'.strip()}`")
    return not missing


def _is_installed(requirement: Requirement) -> bool:
    """Whether the package is there in a version that fits, by the rules of pip."""
    try:
        return requirement.specifier.contains(Version(metadata.version(requirement.name)).base_version)
    except metadata.PackageNotFoundError:
        return False


def check_imgsz(
    imgsz: int | str | Sequence[int], stride: Any = 32, min_dim: int = 1, max_dim: int = 2, floor: int = 0
) -> int | list[int]:
    """Image size with sides of at least `floor`, rounded up to multiples of `stride`, the largest of a tensor.

    One side remains a number, or becomes [side, side] with `min_dim` 2; with `max_dim` 1 the longer of two remains.
    Says what it changes.
    """
    given = parse_value(imgsz) if isinstance(imgsz, str) else imgsz
    sides = list(given) if isinstance(given, (list, tuple)) else [given]
    if not sides or not all(type(side) is int for side in sides):
        raise ConfigError(f"imgsz={imgsz!r}: expected a whole number such as 640, or [height, width]")
    if len(sides) > max_dim:
        if max_dim != 1:
            raise ConfigError(f"imgsz={imgsz!r}: expected at most {max_dim} sides, [height, width]")
        LOGGER.warning(f"imgsz={max(sides)} in place of {sides}: train and val take one side")
        sides = [max(sides)]
    # a model's `stride` is a tensor, one for each level
    stride = int(stride.max() if hasattr(stride, "max") else stride)
    rounded = [max(math.ceil(side / stride) * stride, floor) for side in sides]
    if rounded != sides:
        LOGGER.warning(f"imgsz={rounded} in place of {sides}: sides must be multiples of the stride, {stride}")
    if len(rounded) > 1:
        return rounded
    return rounded * 2 if min_dim == 2 else rounded[0]


def check_suffix(file: str | Path | Iterable[str | Path], suffix: str | Collection[str] = ".pt", msg: str = "") -> None:
    """Raise ConfigError for a file whose name does not end in `suffix` or one of several."""
    endings = [suffix] if isinstance(suffix, str) else list(suffix)
    for name in [file] if isinstance(file, (str, Path)) else file:
        if str(name) and suffix and Path(name).suffix.lower() not in endings:
            raise ConfigError(f"{msg}{name}: expected a name ending in {' or '.join(endings)}")


def check_file(
    file: str | Path,
    suffix: str | Collection[str] = "",
    download: bool = True,
    download_dir: str | Path = ".",
    hard: bool = True,
) -> str:
    """Path of a file: as given if it exists, else by its name anywhere in the package, such as "coco.yaml".

    Nothing is ever downloaded, whatever `download` and `download_dir` say: an address raises. MissingFileError if
    there is none, or several; with `hard` off "" and the first.
    """
    check_suffix(file, suffix)
    if not str(file) or Path(file).exists():
        return str(file)
    if "://" in str(file):
        raise MissingFileError(f"{file} is an address, and nothing is ever downloaded: give the path of a file")
    # rglob takes no absolute pattern, and such a path does not exist
    found = [] if Path(file).is_absolute() else sorted(ROOT.rglob(str(file)))
    if hard and not found:
        near = nearest(Path(file).name, {path.name for path in ROOT.rglob(f"*{Path(file).suffix}")})
        hint = f"; the nearest in {ROOT}: {', '.join(near)}" if near else ""
        raise MissingFileError(f"there is no file {file}, neither in {Path.cwd()} nor anywhere in {ROOT}{hint}")
    if hard and len(found) > 1:
        raise MissingFileError(f"{file} can be any of {', '.join(map(str, found[:3]))} ...: give a path")
    return str(found[0]) if found else ""


def check_yaml(file: str | Path, suffix: str | Collection[str] = (".yaml", ".yml"), hard: bool = True) -> str:
    """Path of a YAML file, found as `check_file` does."""
    return check_file(file, suffix, hard=hard)


def check_is_path_safe(basedir: Path | str, path: Path | str) -> bool:
    """Whether a path exists inside a folder, links followed."""
    base, inside = Path(basedir).resolve(), Path(path).resolve()
    return inside.exists() and inside.is_relative_to(base)


def parse_requirements(
    file_path: str | Path = ROOT.parent / "requirements.txt", package: str = ""
) -> list[Requirement]:
    """Requirements of a file, or of an installed package: each has a `name` and a `specifier`."""
    if package:
        lines = [line for line in metadata.requires(package) or () if "extra ==" not in line]
    else:
        lines = Path(file_path).read_text(encoding="utf-8").splitlines()
    texts = (line.partition("#")[0].strip() for line in lines)
    return [Requirement(text) for text in texts if text]


def cuda_is_available() -> bool:
    """Whether torch finds a CUDA device."""
    return cuda_device_count() > 0


def cuda_device_count() -> int:
    """Number of CUDA devices."""
    import torch  # here, as checks come before heavy imports

    return torch.cuda.device_count()


# Devices --------------------------------------------------------------------------------------------------------------


def check_gpu(index: int) -> "torch.device":
    """The GPU; DeviceError for one that is not there, NoGPUError for one for which this torch has no kernels."""
    import torch  # here, as checks come before heavy imports

    if index >= (count := torch.cuda.device_count()):
        available = "only device 0 is" if count == 1 else f"devices 0 to {count - 1} are"
        raise DeviceError(f"device={index}: there is no such GPU; {available} there")
    built = [] if torch.version.hip else torch.cuda.get_arch_list()  # such as sm_86, and compute_90 for GPUs to come
    major, minor = torch.cuda.get_device_capability(index) if built else (0, 0)
    for name in built:
        kind, _, digits = name.rstrip("af").partition("_")
        same_family = int(digits) // 10 == major and int(digits) % 10 <= minor
        if same_family if kind == "sm" else int(digits) <= 10 * major + minor:
            break
    else:
        if built:
            raise NoGPUError(
                f"device={index}: torch {torch.__version__} has no kernels for {torch.cuda.get_device_name(index)} "
                f"(compute capability {major}.{minor}), but for {', '.join(built)}; install a torch that has, or use "
                "device=cpu"
            )
    return torch.device("cuda", index)


@cache
def warn_once(message: str) -> None:
    """Log a warning the first time."""
    LOGGER.warning(message)
