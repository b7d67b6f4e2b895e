"""Train variants of a network under equal conditions: edit the settings below, or change them on the command line.

python compare.py                                     the study below
python compare.py models=[yolov8n.yaml,mine.yaml] data=my.yaml seeds=[0,1,2] epochs=100 device=0
python compare.py models="{cold: yolov8n.yaml, warm: yolov8n.yaml+best.pt}" data=my.yaml
python compare.py models="{ciou: yolov8n.yaml, wiou: {model: yolov8n.yaml, iou_loss: wiou3}}" data=[a.yaml,b.yaml]
python compare.py train=False                         report on the finished runs, while others train
python compare.py only=[yolov8n]                      train only these labels of the models; report on all
python compare.py ray=True                            several runs at a time, on all GPUs of this machine; ray=ADDRESS:
                                                      of a Ray cluster (docs/machines.md)

Writes compare.md, compare.csv, compare.png and compare.html, a page to send, into the folder `project`.

A run that is in the results file is not trained again, one that was killed is resumed, and several processes may share
one file: start the same command twice, and each takes runs that no other is training.
"""

from ultralytics.comparison.run import compare_variants
from ultralytics.engine.cli import run

COMPARISON = {
    "models": [  # the first one is the baseline of the others; a mapping may have any option of its own
        "yolov8n.yaml",
        "yolov8n-DynamicConv.yaml",
        "yolov8n-C2f-DynamicConv.yaml",
        # "yolov8n.yaml+weights.pt",
        # {"label": "wiou", "model": "yolov8n.yaml", "iou_loss": "wiou3"},
        # {"label": "larger images", "model": "yolov8n.yaml", "imgsz": 960},  # a control row: what they alone bring
    ],
    "seeds": [0, 1, 2],
    "only": None,  # labels of the models to train; None: all
    "drop_after": None,  # 1: what stays below 90 % of the first variant with the first seed gets no more seeds
    "train": True,  # False: only report on the finished runs
    "results": "runs/compare/results.csv",  # one line per finished run; their epochs are in a folder beside it
    "ray": None,  # True: spread the runs over the GPUs of this machine; or the address of a Ray cluster
}
SETTINGS = {  # options of every run, as in train.py
    "data": "shapes.yaml",  # or several: ["shapes.yaml", "mine.yaml"]
    "imgsz": 640,
    "epochs": 100,
    "batch": 16,
    "nbs": 64,
    "optimizer": "AdamW",
    "lr0": 0.001,
    "patience": 0,  # every run has the same number of epochs
    "workers": 0,
    "device": "0",  # first GPU; the CPU if there is none
    "plots": False,
    "verbose": False,
    "project": "runs/compare",
}


if __name__ == "__main__":
    run(compare_variants, SETTINGS, __doc__, COMPARISON)
