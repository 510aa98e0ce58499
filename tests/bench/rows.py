"""What the bench measures: the rows of its table, in the order of their measurement, and the images each asks for.

A *cold* row asks for each image once: no row of the same server asks for an image of another, so that no cache can
answer, and the driver fails where there are not enough. A *warm* row asks for the same images over and over, each of
them before it is measured. What a row promises of requests and verifications is checked, in short runs too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement: `reviews` after `warmup` of the same kind, `concurrency` at once, `delay` ms in the registry.

    `images` is how many are asked for over and over, 0 for others in each review, which with `copies` may be those of
    copied repositories; `rate` is reviews per second, 0 for one after the other's answer. `requests` is what the
    registry must count per review, `in_all` what it may count at most in the whole row, `verifications` how many
    signatures may be verified; where that is promised.
    """

    title: str
    kind: str = "signed"
    shape: str = "digest"
    concurrency: int = 1
    delay: int = 0
    reviews: int = 600
    warmup: int = 300
    images: int = 0
    copies: bool = False
    rate: float = 0.0
    auth: str = "none"
    requests: float | None = None
    in_all: int | None = None
    verifications: int | None = None
    extra: tuple[str, ...] = ()

    @property
    def needs(self) -> int:
        """How many images."""
        per_review = 3 if self.shape == "digest3" else 1
        return self.images or (self.reviews + self.warmup) * per_review


# A warm-up of 300 finds the form of all repositories that signed images are in.
COLD = (
    Row("cold, form known: digest", requests=2),
    Row("cold, form known: tag", shape="tag", requests=3),
    Row("cold, nothing known: digest", kind="single", reviews=1000, warmup=50, requests=4),
    Row("cold, nothing known: tag", kind="single", shape="tag", reviews=600, warmup=20, requests=5),
    Row("cold, form known: v3 bundle", kind="bundle", warmup=100, requests=3),
    Row("cold, form known: keyless", kind="keyless", warmup=100, requests=2),
    Row("cold, form known: keyless v3 bundle", kind="keyless-bundle", warmup=100, requests=3),
    Row("cold, form known: signed, and attested with a condition", kind="attested", warmup=100, requests=4),
    Row("cold, unsigned: denied, every place asked", kind="unsigned", reviews=200, warmup=20, requests=3),
    Row("cold, form known: pod of three images", shape="digest3", warmup=100, reviews=300, requests=6),
    Row("cold, 16 at once", concurrency=16, reviews=1000, requests=2),
    Row("cold, 64 at once", concurrency=64, reviews=1000, requests=2),
    Row("cold, keyless v3 bundle, 16 at once", kind="keyless-bundle", concurrency=16, warmup=50, reviews=900),
    Row("cold, 20 ms: digest", delay=20, reviews=100, requests=2),
    Row("cold, 20 ms: tag", shape="tag", delay=20, reviews=100, requests=3),
    Row("cold, 20 ms: pod of three images", shape="digest3", delay=20, warmup=100, reviews=60, requests=6),
    Row("cold, 20 ms, 16 at once", delay=20, concurrency=16, reviews=480, requests=2),
    Row("cold, 20 ms, 64 at once", delay=20, concurrency=64, reviews=640, requests=2),
    Row("cold, 20 ms, 100 new images a second, open loop", delay=20, concurrency=64, reviews=1000, rate=100.0),
    Row(
        "cold, 64 reviews of one image at once",
        kind="single", images=1, concurrency=64, reviews=64, warmup=0, in_all=4, verifications=1,
    ),
    Row(
        "cold, 1,000 reviews of one image at once",
        kind="single", images=1, concurrency=1000, reviews=1000, warmup=0, in_all=4, verifications=1,
    ),
)  # fmt: skip
WARM = (
    Row("warm: digest", images=300, reviews=2000, requests=0),
    Row("warm: tag", shape="tag", images=300, reviews=2000, in_all=300),
    Row("warm: keyless v3 bundle", kind="keyless-bundle", images=100, warmup=100, reviews=2000, requests=0),
    Row("warm: pod of three images", shape="digest3", images=300, warmup=100, reviews=1000, requests=0),
    Row("warm, 16 at once", images=300, concurrency=16, reviews=4000, requests=0),
)
NEITHER = (
    Row("exempt registry", reviews=2000, copies=True, requests=0, extra=("-host", "registry.k8s.io")),
    Row("unchanged update", reviews=2000, copies=True, requests=0, extra=("-op", "UPDATE")),
)
# At the end: from then on a token is asked for whenever a repository is new.
BEARER = (
    Row("cold, form known: digest, bearer tokens, each kept", auth="bearer", requests=2),
    Row("cold, form known: tag, bearer tokens, each kept", shape="tag", auth="bearer", reviews=300, requests=3),
)
ROWS = COLD + WARM + NEITHER + BEARER

# AWS is asked once for each review of a cold row, since each image was signed in a job of its own.
AWS_COLD = (
    Row("cold, form known: AWS Signer, one call", kind="profile", warmup=100, reviews=300, requests=3),
    Row("cold, AWS Signer, 16 at once", kind="profile", concurrency=16, warmup=0, reviews=500, requests=3),
)
AWS_WARM = Row("warm: AWS Signer", kind="profile", images=100, warmup=100, reviews=2000, requests=0)

BUSY = Row("", kind="keyless", concurrency=64, reviews=1500, warmup=0)
BESIDE = Row(
    "exempt registry, beside 64 keyless at once",
    reviews=2000, warmup=0, copies=True, extra=("-host", "registry.k8s.io"),
)  # fmt: skip

# All of other images: a repository and a digest that were not there before.
MEMORY_FIRST = Row("memory after 1,000 reviews", concurrency=16, reviews=1000, warmup=0, copies=True)
MEMORY_LAST = Row("memory after 100,000 reviews", concurrency=16, reviews=99_000, warmup=0, copies=True)
MEMORY_CROSSCHECK = Row(
    "memory after 1,000 reviews, cross-checked", kind="keyless-bundle", concurrency=16, reviews=1000, warmup=0
)

REPLICAS = 10
SHARED = Row(
    f"{REPLICAS} replicas with Valkey, one new image, 200 pods",
    kind="single", images=1, concurrency=200, reviews=200, warmup=0, in_all=4,
)  # fmt: skip

FLOORS = (
    ("floor: FastAPI, constant answer", "tests.bench.floors:fastapi", Row("", reviews=2000, copies=True)),
    ("floor: bare ASGI, constant answer", "tests.bench.floors:asgi", Row("", reviews=2000, copies=True)),
    ("floor: two GETs and a verification, aiohttp", "tests.bench.floors:verify", Row("")),
)
CONSTANT, TWO_GETS = FLOORS[0][0], FLOORS[2][0]


def placed(rows: Sequence[Row]) -> Iterator[tuple[Row, int]]:
    """Each row with its first image: none asks for another's."""
    taken: Counter[str] = Counter()
    for row in rows:
        if row.copies:  # whose images nobody looks for
            yield row, 0
            continue
        yield row, taken[row.kind]
        taken[row.kind] += row.needs
