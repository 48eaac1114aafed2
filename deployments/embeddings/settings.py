"""What `serve_config.yaml` may say of a table of embeddings."""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from deployments.embeddings.reader import Reading
from deployments.embeddings.table import Dtype, Table
from deployments.replicas import source
from deployments.settings import ServerSettings
from optimization.artifact.manifest import NAME_PATTERN


class EmbeddingSettings(ServerSettings):
    """Arguments of `deployments.app:embeddings`, a table whose rows lie on shards."""

    table: str = Field(pattern=NAME_PATTERN)
    """The table's name, and that of its application."""
    rows: int = Field(ge=1, le=10**12)
    """Number of rows; ids are 0 to `rows` - 1."""
    width: int = Field(ge=1, le=65536)
    """Elements of a row."""
    dtype: Dtype = "float32"
    """How rows are held and sent between processes; sums are made in float32."""
    shards: int = Field(default=2, ge=1, le=512)
    """Processes that hold the rows, on as many nodes as there are; another number moves them while they serve."""
    copies: int = Field(default=2, ge=1, le=4)
    """Shards that hold each row: a change is acknowledged when all of them have it. With 1, a shard that dies loses
    what changed since the last snapshot."""
    initial: str = "zeros"
    """Where rows begin: `zeros`, `normal` (seeded, of standard deviation width**-0.5), or path or URL of a .npy file or
    a .safetensors file that holds one tensor of this shape. A path must be readable on every node."""
    initial_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """Digest of that file; each shard checks it before it loads its rows."""
    seed: int = Field(default=0, ge=0)
    """Of `normal`."""
    snapshots: Annotated[str | None, AfterValidator(lambda given: given and source.checked(given))] = None
    """Directory that all nodes share, or URL, for snapshots; a table that starts takes the newest one there."""
    snapshot_every_s: float = Field(default=300.0, gt=0)
    """Seconds between two snapshots."""
    staleness_s: float = Field(default=1.0, ge=0.05, le=3600)
    """A change is seen by every reader at most so many seconds after it was acknowledged."""
    cache_rows: int = Field(default=100_000, ge=0, le=10**9)
    """Rows that each reader keeps, those asked for most; 0 keeps none."""
    cache_ttl_s: float | None = Field(default=None, gt=0)
    """Seconds after which a row that is kept is fetched again even if it has not changed."""
    default_row: int | None = Field(default=None, ge=0)
    """The row that unknown ids are looked up as; without it they are an error. They can never be changed."""
    timeout_s: float = Field(default=10.0, gt=0)
    """Seconds within which shards must answer, one that takes another's place included."""
    max_request_ids: int = Field(default=65536, ge=1, le=10**8)
    """Most ids of one request."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.shards < self.copies:
            raise ValueError(f"shards must be at least copies, {self.copies}")
        if self.default_row is not None and self.default_row >= self.rows:
            raise ValueError(f"default_row must be a row, at most {self.rows - 1}")
        return self

    def shape(self) -> Table:
        """What all that hold or read the table agree on."""
        return Table(name=self.table, rows=self.rows, width=self.width, dtype=self.dtype)

    def reading(self) -> Reading:
        """How the table is read."""
        return Reading(
            staleness_s=self.staleness_s,
            cache_rows=self.cache_rows,
            ttl_s=self.cache_ttl_s,
            default_row=self.default_row,
            timeout_s=self.timeout_s,
        )
