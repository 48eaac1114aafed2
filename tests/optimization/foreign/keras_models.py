"""Writes small Keras models and their answers into a folder: `python -m tests.optimization.foreign.keras_models`."""

import sys
from pathlib import Path

import numpy as np

_RANDOM = np.random.default_rng(0)
SAMPLES = {
    "network": _RANDOM.random((7, 8, 8, 1), np.float32),
    "attention": _RANDOM.random((7, 6, 4), np.float32),
}


def write(folder: Path) -> None:
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    tokens, left, right = keras.Input((6, 4)), keras.Input((3,), name="left"), keras.Input((2,), name="right")
    attended = layers.LayerNormalization()(tokens + layers.MultiHeadAttention(2, 4)(tokens, tokens))
    models = {
        "network": keras.Sequential(
            [
                keras.Input((8, 8, 1)),
                layers.Conv2D(8, 3, padding="same", activation="relu"),
                layers.BatchNormalization(),
                layers.MaxPooling2D(),
                layers.Flatten(),
                layers.Dropout(0.3),
                layers.Dense(10, activation="softmax"),
            ]
        ),
        "attention": keras.Model(tokens, layers.Dense(3)(layers.GlobalAveragePooling1D()(attended))),
        "two": keras.Model([left, right], layers.Dense(2)(layers.Concatenate()([left, right]))),
        "recurrent": keras.Sequential([keras.Input((None, 4)), layers.GRU(5), layers.Dense(3)]),
    }
    for name, model in models.items():
        model.save(folder / f"{name}.keras")
        if name in SAMPLES:
            np.save(folder / f"{name}.npy", keras.ops.convert_to_numpy(model(SAMPLES[name], training=False)))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
