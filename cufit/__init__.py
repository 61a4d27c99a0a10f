"""Train a good classifier on a frozen vision foundation model although some of the labels are wrong.

The names that a user needs, wherever they live; `import cufit` itself loads no room. Everything else has its full path,
such as `cufit.data.noise.transition_matrix`. This file is edited by hand; all others are exported from notebooks."""
__version__ = "0.2.0"

from importlib import import_module

ROOMS = {   # public name -> the room that has it
    "CufitError": "core",
    "ImageSet": "data.imageset", "Splits": "data.imageset", "corrupt": "data.noise", "load": "sources.readers",
    "load_backbone": "frozen.backbone",
    "Linear": "methods.probe", "AdapterTuning": "methods.adapters", "Cufit": "methods.curriculum", "load_method": "train.contract", "train_config": "train.record",
    "train_run": "run.experiment", "evaluate_run": "run.experiment", "lesson_setup": "run.lesson",
}
__all__ = ["__version__", *ROOMS]


def __getattr__(name):
    if name not in ROOMS: raise AttributeError(f"module 'cufit' has no attribute {name!r}; it has {', '.join(ROOMS)}, and the rooms that the reference lists")
    globals()[name] = found = getattr(import_module(f"cufit.{ROOMS[name]}"), name)
    return found


def __dir__(): return sorted({*globals(), *ROOMS})
