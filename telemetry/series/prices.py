"""What a machine costs, so that a model's requests can be given a price."""

from pydantic import BaseModel, ConfigDict, Field


class Prices(BaseModel):
    """Prices in any one currency; without them no cost is told."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    cpu_hour: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Of one CPU for an hour."""
    memory_gib_hour: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Of a GiB of memory for an hour."""
    gpu_hour: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Of a GPU for an hour."""

    @property
    def are_known(self) -> bool:
        """Whether any was given."""
        return self.cpu_hour + self.memory_gib_hour + self.gpu_hour > 0

    def an_hour(self, *, cpus: float, memory_bytes: float, gpus: int) -> float:
        """What so much costs in an hour; what is not known of it, NaN, costs nothing that can be told."""
        memory = memory_bytes / 2**30 if memory_bytes == memory_bytes else 0.0
        return cpus * self.cpu_hour + memory * self.memory_gib_hour + gpus * self.gpu_hour
