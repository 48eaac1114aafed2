"""MNIST-1D by its published protocol: 4000 signals to train on, 1000 held out (Greydanus 2020, arXiv:2011.14439)."""

from benchmarks.figures.setting import RECIPES, Figures, Setting, follow, load, points

KEYS = ("mnist1d_mlp", "mnist1d_cnn")


def measure(setting: Setting) -> Figures:
    """Accuracy of the convolutional teacher, and of the fully connected student that is served."""
    made = follow(load(RECIPES / "mnist1d.yaml", {}, setting), setting)
    return {
        "mnist1d_mlp": points(made, "quantize"),
        "mnist1d_mlp_without_teacher": points(made, "control"),
        "mnist1d_cnn": points(made, "teacher"),
    }
