"""Models that come with Python code of their own: it is run where the recipe names it, and never otherwise."""

from optimization.errors import RecipeError
from optimization.extras import require
from optimization.recipe.architectures import HuggingFaceModel


def may_run(config: HuggingFaceModel) -> bool:
    """Whether code that lies beside the model's weights is to be run, since the recipe names it; nothing runs here.

    Raises:
        RecipeError: the model is no other than by such code, which the recipe does not name, or it has no such code.
        OSError: there is no such model.
    """
    transformers = require("transformers", extra="hf")
    raw, _ = transformers.PretrainedConfig.get_config_dict(config.name)
    own = sorted(str(each) for each in raw.get("auto_map", {}).values())
    if config.code is not None:
        if config.code not in own:
            rule = f"model.code must be left out or be in auto_map of {config.name!r}: {', '.join(own) or 'none is'}"
            raise RecipeError(f"{rule}, got {config.code!r}")
        return True
    if own and raw.get("model_type") not in transformers.models.auto.configuration_auto.CONFIG_MAPPING:
        rule = f"model.name must be a model that transformers knows, got {config.name!r} with code of its own"
        raise RecipeError(f"{rule}, which is not run: read {', '.join(own)}, then name the class with model.code")
    return False
