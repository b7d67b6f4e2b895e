"""Grammar of the command line, of the scripts and of `yolo TASK MODE name=value …` alike.

>>> parse_command(["detect", "train", "data=my.yaml", "imgsz", "=", "64", "--exist_ok"])
Command(mode='train', task='detect', words=('data=my.yaml', 'imgsz=64', 'exist_ok=True'))
"""

import os
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ultralytics.cfg.options import OPTIONS, TASKS, check_values
from ultralytics.cfg.published import NAMES
from ultralytics.cfg.types import INVALID, parse_plain
from ultralytics.utils.errors import ConfigError, OptionNameError, YOLOError
from ultralytics.utils.files import load_yaml, nearest, parse_value

MODES = ("train", "val", "predict", "export", "info", "speed", "compare")
SPECIAL_MODES = ("help", "version", "checks", "cfg", "copy-cfg", "settings")
SHORT = {"-h": "help", "--help": "help", "-v": "version", "--version": "version"}
_HUB = "belongs to an online service, and this tree never goes online"
REFUSED_MODES = {
    "track": "tracking is not supported: give the results of `yolo predict` with save_txt=True to a tracker",
    "benchmark": "formats are not compared: `yolo export format=onnx` says how far a file is from the network",
    "solutions": "count and draw with the Results of YOLO(...).predict(source, stream=True)",
    **dict.fromkeys(("login", "logout", "hub"), _HUB),
}
BRACKETS = {"[": "]", "(": ")", "{": "}"}
# Options that their bare name sets to True. Of those of the public package mode is refused, and save_dir renamed.
FLAGS = {name for name, option in OPTIONS.items() if name != "source" and option.read(True) is not INVALID}
FLAGS |= NAMES - {"mode", "save_dir"}


@dataclass(frozen=True)
class Command:
    """Task and mode of a `yolo` command, and the words of its options, `name=value` each."""

    mode: str
    task: str | None
    words: tuple[str, ...]


def join_words(words: Iterable[str]) -> list[str]:
    """Words as `name=value`, however the shell has cut them.

    Blanks around the equals sign and in brackets, a comma after a word and dashes before it do not matter.
    """
    joined: list[str] = []
    pending = list(words)
    while pending:
        word = pending.pop(0)
        if word.startswith("--"):
            word = word[2:]
        if pending and pending[0].startswith("=") and "=" not in word:
            word += pending.pop(0)
        if pending and word.endswith("=") and "=" not in pending[0]:
            word += pending.pop(0)
        joined.append(_close_brackets(word, pending).removesuffix(","))
    return joined


def _close_brackets(word: str, pending: list[str]) -> str:
    """The word with as many of those after it as its brackets need; as it is where these never close."""
    opening = word.partition("=")[2][:1]
    for count in range(len(pending) + 1):
        whole = " ".join([word, *pending[:count]])
        if opening not in BRACKETS or whole.count(opening) <= whole.count(BRACKETS[opening]):
            del pending[:count]
            return whole
    return word


def parse_words(words: Iterable[str], own: Collection[str] = ()) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options, checked, and settings named in `own`, read as YAML, from words such as `imgsz=320 classes=[0,2]`."""
    options: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    for word in join_words(words):
        name, equals, text = f"{word}=True".partition("=") if word in FLAGS else word.partition("=")
        name, text = name.strip(), text.strip()
        if not equals and name in OPTIONS:
            raise ConfigError(f"{name} has no value: write {name}=value, such as imgsz=320")
        if not equals or not name.isidentifier():
            near = nearest(word, [*OPTIONS, *own])
            hint = f"did you mean {near[0]}=…?" if near else "write name=value, such as imgsz=320"
            raise OptionNameError(f"{word!r} is not an option: {hint}")
        if name in own:
            settings[name] = parse_value(text)
        elif name in OPTIONS:
            options[name] = OPTIONS[name].parse(text)
        else:
            options[name] = parse_plain(text) if name in NAMES else text
    return check_values(options), settings


def parse_command(words: Sequence[str]) -> Command:
    """Task, mode and options of a `yolo` command, in any order. Raises OptionNameError with the nearest names."""
    task = mode = None
    options: list[str] = []
    if not words or any(SHORT.get(word, word) == "help" for word in words):
        return Command("help", None, ())
    for word in join_words(SHORT.get(word, word) for word in words):
        name, equals, text = word.partition("=")
        word_of_mode = text if name == "mode" and equals else word
        if word in TASKS:
            task = word
        elif mode in SPECIAL_MODES:
            options.append(word)  # `yolo settings reset`
        elif word_of_mode in (*MODES, *SPECIAL_MODES):
            if mode not in (None, word_of_mode):
                raise ConfigError(f"yolo {mode} {word_of_mode}: one at a time; an option is written {word}=True")
            mode = word_of_mode
        elif word_of_mode in REFUSED_MODES:
            raise ConfigError(f"yolo {word_of_mode}: {REFUSED_MODES[word_of_mode]}")
        elif word in FLAGS or (equals and name != "mode"):
            options.append(word if equals else f"{word}=True")
        elif word in OPTIONS:
            raise ConfigError(f"{word} has no value: write {word}=value, such as imgsz=320")
        else:
            wanted = word.removeprefix("mode=")
            near = nearest(wanted, [*TASKS, *MODES, *SPECIAL_MODES]) or nearest(wanted, OPTIONS)
            hint = f"did you mean {' or '.join(near)}?" if near else "`yolo help` has examples."
            raise OptionNameError(f"yolo {word}: {hint} Tasks are {', '.join(TASKS)}; modes are {', '.join(MODES)}")
    if mode is None:  # a file of options may be that of a mode
        files = [word.partition("=")[2] for word in options if word.startswith("cfg=")]
        mode = load_yaml(files[-1]).get("mode") if files else None
        if mode not in MODES:
            raise ConfigError(f"what is to be done? Write one of {', '.join(MODES)}, such as yolo train data=my.yaml")
    return Command(mode, task, tuple(options))


@contextmanager
def errors_as_sentences() -> Iterator[None]:
    """End the program with a mistake as one sentence and exit code 1; YOLO_TRACEBACK=1 shows the traceback."""
    try:
        yield
    except YOLOError as exc:
        if os.environ.get("YOLO_TRACEBACK") == "1":
            raise
        sys.exit(f"{type(exc).__name__}: {exc}")
    except KeyboardInterrupt:
        sys.exit("interrupted")
