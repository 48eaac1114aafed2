"""The grammar of a recipe's settings: values with their rules in words, and a base that knows every key."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from optimization.artifact.manifest import NAME_PATTERN
from optimization.recipe import wording


def rule(text: str) -> WrapValidator:
    """Say a type's rule in our own words when a value breaks it."""

    def check(value: Any, inner: ValidatorFunctionWrapHandler) -> Any:
        try:
            return inner(value)
        except ValidationError:
            raise PydanticCustomError("rule", f"must {text}") from None

    return WrapValidator(check)


def misfit(text: str, got: object) -> PydanticCustomError:
    """An error of several settings together; `text` names them and their rule."""
    return PydanticCustomError("misfit", "{text}", {"text": f"{text}, got {got!r}"})


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError("even")
    return value


# Floats are not strict: YAML reads 1e-3, which lacks the dot, as a string.
Ratio = Annotated[float, Field(gt=0, lt=1), rule("lie in (0, 1)")]
Share = Annotated[float, Field(ge=0, le=1), rule("lie in [0, 1]")]
Part = Annotated[float, Field(gt=0, le=1), rule("lie in (0, 1]")]
Fraction = Annotated[float, Field(ge=0, lt=1), rule("lie in [0, 1)")]
Positive = Annotated[float, Field(gt=0), rule("be greater than 0")]
NonNegative = Annotated[float, Field(ge=0), rule("be 0 or greater")]
Confidence = Annotated[float, Field(ge=0.5, lt=1), rule("lie in [0.5, 1)")]
Count = Annotated[int, Field(ge=1, strict=True), rule("be a whole number of at least 1")]
Odd = Annotated[int, Field(ge=1, strict=True), AfterValidator(_odd), rule("be an odd number of at least 1")]
Index = Annotated[int, Field(ge=0, strict=True), rule("be a whole number of at least 0")]
Seed = Annotated[int, Field(ge=0, lt=2**32, strict=True), rule("be a whole number in [0, 2^32)")]
Widths = Annotated[tuple[Count, ...], Field(min_length=1), rule("be a list of whole numbers of at least 1")]
Choice = Annotated[tuple[Any, ...], Field(min_length=1), rule("be a list of values to try")]
Name = Annotated[str, Field(pattern=NAME_PATTERN), rule(f"match {NAME_PATTERN}")]
ImportPath = Annotated[
    str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"), rule("name a function or class as 'package.module:name'")
]


class Settings(BaseModel):
    """A group of settings."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)

    renamed: ClassVar[Mapping[str, str]] = {}
    """Settings that were called otherwise: what they are called now by what they were."""

    @model_validator(mode="before")
    @classmethod
    def _know_every_key(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        # Manifests of before hold every setting, those too that were left out.
        raw = {key: value for key, value in raw.items() if value is not None or key not in cls.renamed}
        if unknown := [key for key in raw if key not in cls.model_fields]:
            raise PydanticCustomError("unknown", "{hints}", {"hints": "; ".join(map(cls._hint, unknown))})
        return raw

    @classmethod
    def _hint(cls, key: object) -> str:
        now = cls.renamed.get(str(key))
        hint = wording.nearest(key, list(cls.model_fields)) if now is None else f", which is called {now!r} now"
        return f"unknown setting {str(key)!r}{hint}"


class MeasureChoice(Settings):
    """A measure of quality."""

    name: str
    """One of the task's own, such as "f1", or an import path: a function of labels and of what is read, in the order
    of scikit-learn's."""
    reads: Literal["answers", "scores"] = "answers"
    """What a function by import path takes beside the labels: what is answered, or how sure the model is."""
    lower_is_better: bool = False
    """Of a function by import path: whether it measures errors."""
    is_share: bool = True
    """Of a function by import path: whether it lies in [0, 1] or [-1, 1] and is told in percent."""

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, raw: Any) -> Any:
        return {"name": raw} if isinstance(raw, str) else raw

    @model_validator(mode="after")
    def _known_ones_say_it_themselves(self) -> Self:
        if ":" in self.name:
            return self
        for name, field in type(self).model_fields.items():  # a published recipe holds the defaults too
            if name != "name" and getattr(self, name) != field.default:
                raise misfit(f"measure.{name} must be left out where measure.name is no import path", self.name)
        return self
