"""The ways an optimization can fail; `__main__` prints the message and ends with code 2.

    OptimizationError
    ├── RecipeError    what was asked for makes no sense           before any training
    ├── DataError      the data lacks what the recipe names, or cannot be learned from
    ├── TrainError     the workers did not start, stopped, or diverged
    ├── PruneError     the smaller model is not the masked original
    ├── ExportError    the ONNX model is not the torch model
    ├── GraphError     an ONNX file cannot be read or served
    ├── WeightsError   saved weights are damaged or do not fit
    ├── IdentityError  a model cannot be recognised later, so nothing of it is kept
    ├── VerifyError    what would be published does not give what was measured
    ├── SearchError    no trial of a search came to an end
    ├── CutError       a graph cannot be cut as asked
    ├── CompareError   two artifacts have nothing to be compared on
    └── CascadeError   two artifacts make no cascade, or none within the budget

`artifact.ArtifactError` stands alone: `deployments` imports it too.
"""


class OptimizationError(Exception):
    """Any failure the user should read as one message."""


class RecipeError(OptimizationError):
    """A recipe cannot be read, or a setting breaks its rule."""


class DataError(OptimizationError):
    """The data is missing something, or a model cannot learn from it."""


class TrainError(OptimizationError):
    """Training did not finish."""


class PruneError(OptimizationError):
    """A cut changed more than it should."""


class ExportError(OptimizationError):
    """The exported model does not compute what the torch model computes."""


class GraphError(OptimizationError):
    """An ONNX file is damaged, incomplete, or not something that can be served."""


class WeightsError(OptimizationError):
    """Saved weights are damaged, or belong to another architecture."""


class IdentityError(OptimizationError):
    """A model cannot be told from others; a run goes on without keeping what it learns."""


class VerifyError(OptimizationError):
    """What is to be published does not give, as it will be served, what was measured; nothing is published."""


class SearchError(OptimizationError):
    """A search has nothing to choose from."""


class CutError(OptimizationError):
    """A graph cannot be cut into stages as it was asked for."""


class CompareError(OptimizationError):
    """Two artifacts cannot be compared."""


class CascadeError(OptimizationError):
    """Two artifacts make no cascade, or nothing proves that it keeps its budget."""
