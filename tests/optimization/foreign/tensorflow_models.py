"""Writes SavedModels and their answers into a folder: `python -m tests.optimization.foreign.tensorflow_models`."""

import sys
from pathlib import Path

import numpy as np

LENGTHS = (3, 8)


def write(folder: Path) -> None:
    import tensorflow as tf

    random = np.random.default_rng(0)
    weights = [tf.Variable(random.normal(size=shape).astype(np.float32)) for shape in ((4, 5), (5, 3))]

    class Recurrent(tf.Module):
        """A loop over texts of any length: what torch cannot export."""

        @tf.function(input_signature=[tf.TensorSpec([None, None, 4], tf.float32, name="steps")])
        def __call__(self, steps: tf.Tensor) -> dict[str, tf.Tensor]:
            state = tf.zeros([tf.shape(steps)[0], 5])
            for step in range(tf.shape(steps)[1]):
                state = tf.tanh(state * 0.5 + steps[:, step] @ weights[0])
            return {"probabilities": tf.nn.softmax(state @ weights[1])}

    class Words(tf.Module):
        """Uses an operator that ONNX lacks."""

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="words")])
        def __call__(self, words: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"hashes": tf.strings.to_hash_bucket_fast(words, 10)}

    recurrent, words = Recurrent(), Words()
    recurrent.weights = weights
    tf.saved_model.save(recurrent, str(folder / "recurrent"), signatures=recurrent.__call__)
    tf.saved_model.save(words, str(folder / "words"), signatures=words.__call__)
    for length in LENGTHS:
        steps = random.normal(size=(7, length, 4)).astype(np.float32)
        np.savez(folder / f"{length}.npz", steps=steps, answers=recurrent(steps)["probabilities"].numpy())


if __name__ == "__main__":
    write(Path(sys.argv[1]))
