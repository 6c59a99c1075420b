"""What was worked out lately, so that it is not again."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Memory(Generic[K, V]):
    """Holds values by their keys up to a total size; those not asked for longest give way. It only saves time.

    Args:
        limit: of the sizes of all values together, in the unit they are given in, >= 0; 0 for no memory.

    A copy in another process starts empty.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._held: OrderedDict[K, tuple[V, float]] = OrderedDict()
        self._size = 0.0

    def get(self, key: K) -> V | None:
        """Returns the value of a key; None if it is not held."""
        if key not in self._held:
            return None
        self._held.move_to_end(key)
        return self._held[key][0]

    def put(self, key: K, value: V, size: float = 1.0) -> None:
        """Holds a value of some size > 0, in the place of the key's former one."""
        if key in self._held:
            self._size -= self._held.pop(key)[1]
        self._held[key] = value, size
        self._size += size
        while self._size > self.limit:
            _, (_, gone) = self._held.popitem(last=False)
            self._size -= gone

    def __reduce__(self) -> tuple[type["Memory[K, V]"], tuple[float]]:
        return type(self), (self.limit,)
