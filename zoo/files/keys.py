"""What may be a key of a dict or an item of a set, and what it costs to add it."""

from collections.abc import Iterable, Iterator
from typing import Any

from fewstep.zoo.files.mapped import Source

LONGEST = 16  # items of a tuple; nested tuples may take forever to hash
LARGEST = 1 << 53
FREE = 256


def keys(source: Source, values: Iterable[Any], held: int = 0) -> Iterator[Any]:
    """The values, each checked before it is given out to be added to a container of `held`.

    The hashes of texts and bytes are secret.  Those of numbers are known, so that a file may choose numbers which are
    all compared with each other, and tuples of them with the same hash: they cost a step for every FREE that are held,
    and tuples more, as they are slow to compare.  Raises Damaged for other types, and for numbers beyond LARGEST, many
    of which have the same hash.
    """
    for count, value in enumerate(values, held):
        flat = value if isinstance(value, tuple) else (value,)
        if len(flat) > LONGEST or not all(one is None or isinstance(one, str | int | float | bytes) for one in flat):
            raise source.damaged(f"is damaged, or no pickle that is opened (a key that is a {type(value).__name__})")
        numbers = [one for one in flat if isinstance(one, int | float)]
        if not all(-LARGEST <= number <= LARGEST for number in numbers):
            raise source.damaged(f"is not opened: in it a number beyond {LARGEST} is a key, as in no weights")
        if numbers:
            source.step(count * len(flat) ** 4 // FREE)
        yield value
