"""Words of the command line become options in their type."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultralytics.cfg import parse_overrides
from ultralytics.cfg.options import OPTIONS
from ultralytics.utils.errors import ConfigError

WORDS = [
    ("imgsz=320", 320),
    ("imgsz=480,640", [480, 640]),
    ("lr0=1e-3", 1e-3),
    ("lr0=.5", 0.5),
    ("warmup_epochs=0", 0.0),
    ("save=true", True),
    ("save=FALSE", False),
    ("val=no", False),
    ("conf=none", None),
    ("conf=", None),
    ("classes=[0,2]", [0, 2]),
    ("classes=[0, 2]", [0, 2]),
    ("classes=0,2", [0, 2]),
    ("classes=3", [3]),
    ("device=0", 0),
    ("device=cuda:0", "cuda:0"),
    ("device=0,1", [0, 1]),
    ("batch=-1", -1),
    ("cache=ram", "ram"),
    ("amp=bf16", "bf16"),
    ("optimizer=sgd", "SGD"),
    ("freeze=[0,model.22]", [0, "model.22"]),
    ("name=007", "007"),
    ("name=true", "true"),
    ("name='my run'", "my run"),
    ("name=my run", "my run"),
    ("name=a=b # c", "a=b # c"),
    ("data=D:\\my data\\a: b.yaml", "D:\\my data\\a: b.yaml"),
    ("source=0", "0"),
    ("source=1e3", "1e3"),
    ("source=[a.jpg, b c.jpg]", ["a.jpg", "b c.jpg"]),
    ("source=图片/*.jpg", "图片/*.jpg"),
    ("resume=True", True),
    ("resume=runs/a #1/last.pt", "runs/a #1/last.pt"),
    ("pretrained=no", False),
    (" epochs = 3 ", 3),
]


@pytest.mark.parametrize(("word", "expected"), WORDS)
def test_words_of_the_command_line(word, expected):
    ((name, found),) = parse_overrides([word]).items()
    assert name == word.split("=")[0].strip()
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize("word", ["imgsz", "=3", "", "train", "img size=3", "1=2", "-imgsz=3", "imgszz"])
def test_words_that_are_no_options(word):
    with pytest.raises(
        ConfigError, match=r"has no value: write imgsz=value|is not an option: (write name=|did you mean)"
    ):
        parse_overrides([word])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["imgsz", "=", "64"], {"imgsz": 64}),
        (["imgsz=", "64", "epochs", "=3"], {"imgsz": 64, "epochs": 3}),
        (["imgsz=64,", "epochs=3,"], {"imgsz": 64, "epochs": 3}),
        (["--imgsz=64", "--save"], {"imgsz": 64, "save": True}),
        (["conf=", "imgsz=64"], {"conf": None, "imgsz": 64}),
        (["classes=[0,", "2", ",3]", "imgsz=64"], {"classes": [0, 2, 3], "imgsz": 64}),
        (["classes=[0,", "1],", "imgsz=64"], {"classes": [0, 1], "imgsz": 64}),
        (["scale=(0.5,", "1.2)"], {"scale": [0.5, 1.2]}),
        (["scale=0.5,1.2", "imgsz=(64,)"], {"scale": [0.5, 1.2], "imgsz": 64}),
        (["source=[a.jpg", "imgsz=64"], {"source": "[a.jpg", "imgsz": 64}),
        (["hide_labels"], {"show_labels": False}),
        (["resume", "exist_ok"], {"resume": True, "exist_ok": True}),
        (["data=[a.yaml,b.yaml]"], {"data": ["a.yaml", "b.yaml"]}),
        (["augment", "half=False", "int8=False", "mode=val"], {"augment": True, "half": False}),
    ],
)
def test_words_that_the_shell_has_cut(words, expected):
    assert parse_overrides(words) == expected


def test_words_are_checked_and_the_last_wins():
    assert parse_overrides(["epochs=1", "epochs=2"]) == {"epochs": 2}
    for word in ("epochs=x", "img_size=3", "mode=trai", "mask_ratio=0", "classes={0: 1}"):
        with pytest.raises(ConfigError, match=word.split("=")[0]):
            parse_overrides([word])


def written(value: object) -> str:
    """How a person writes a value."""
    if isinstance(value, str):
        return f'"{value}"' if "'" in value else f"'{value}'"
    return f"[{','.join(written(item) for item in value)}]" if isinstance(value, list) else str(value)


@given(
    st.fixed_dictionaries(
        {
            "epochs": st.integers(1, 2**63 - 1),
            "lr0": st.floats(0, 1e9),
            "conf": st.none() | st.floats(0, 1),
            "batch": st.none() | st.just(-1) | st.integers(1, 999),
            "classes": st.none() | st.lists(st.integers(0, 999)),
            "imgsz": st.integers(32, 9999) | st.lists(st.integers(32, 9999), min_size=2, max_size=2),
            "save": st.none() | st.booleans(),
            "amp": st.booleans() | st.just("bf16"),
            "freeze": st.none() | st.integers(0, 2**63 - 1) | st.lists(st.integers(0, 99) | st.just("model.22.dfl")),
            "name": st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\"'"), min_size=1),
            "source": st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\"'[]"), min_size=1),
        }
    )
)
def test_words_round_trip(values):
    assert parse_overrides([f"{name}={written(value)}" for name, value in values.items()]) == values


@given(st.sampled_from(list(OPTIONS)), st.text(max_size=12))
def test_any_word_is_taken_or_refused(name, text):
    try:
        parse_overrides([f"{name}={text}"])
    except ConfigError as exc:
        assert str(exc).startswith(name)
