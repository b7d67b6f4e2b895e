"""The steps of data/augment.py as callables, which the public package publishes in ultralytics.data.augment."""

HOMES = dict.fromkeys(("BaseTransform", "Compose", "LetterBox", "CenterCrop", "ClassifyLetterBox", "ToTensor"), "base")
HOMES |= dict.fromkeys(("RandomFlip", "RandomHSV", "RandomPerspective", "Format"), "single")
HOMES |= dict.fromkeys(("BaseMixTransform", "Mosaic", "MixUp", "CutMix", "CopyPaste", "v8_transforms"), "mixing")
