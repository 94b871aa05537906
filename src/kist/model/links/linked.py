"""What datasets have in common that stand in other files: they go by the name of their link."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kist.model.attributes import Attributes

if TYPE_CHECKING:
    from kist.model.links.link import Link
    from kist.model.store import Store

__all__ = ["Linked"]


class Linked:
    """Name, attributes and identity of a dataset that a link is."""

    _link: Link

    @property
    def name(self) -> str:
        """Path of the link."""
        return self._link.name

    @property
    def store(self) -> Store:
        """The store of the link."""
        return self._link.store

    @property
    def attrs(self) -> Attributes:
        """Those of the link."""
        return self._link.attrs

    @property
    def title(self) -> Any:
        """That of the link."""
        return self._link.title

    def is_same(self, other: object) -> bool:
        """Tell whether `other` is the same linked dataset of the same open store."""
        return isinstance(other, Linked) and self._link.is_same(other._link)

    def _moved(self, to: Callable[[Store], Store]) -> Any:
        """Return the same in another handle of the store, which a function gives."""
        return self._link._moved(to)

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self._link,)


def _again(link: Link) -> Any:
    return link.follow()
