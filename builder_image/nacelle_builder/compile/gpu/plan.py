"""What was chosen for each place of a GPU's program, found by a step's size."""

from collections.abc import Callable, Iterator, Sequence

from nacelle_builder.compile.gpu.bindings import launches_of, matmul
from nacelle_builder.compile.gpu.place import Candidate, Chosen
from nacelle_engine.program.launch import Launch, Launches


class Plan:
    """The candidate chosen for each place, found by a step's size."""

    def __init__(
        self,
        chosen: Sequence[Chosen],
        *,
        static: bool,
        raw: Callable[[int], bool],
        biased: frozenset[str],
    ) -> None:
        """static: linears' inputs have static scales; raw: whether products in steps of that size
        are scaled by who reads them; biased: the linears that have a bias.
        """
        self._chosen = chosen
        self.static = static
        self.raw = raw
        self.biased = biased

    def of_kind(self, kind: str) -> "Plan":
        """The part of it that layers of a kind take."""
        mine = [one for one in self._chosen if one.place.kind in (None, kind)]
        return Plan(mine, static=self.static, raw=self.raw, biased=self.biased)

    def at(self, name: str, size: int) -> Candidate:
        """What was chosen at a place for steps of that size."""
        return next(self._at(name, size))

    def launch(self, name: str, size: int) -> Launch:
        """The launch at a place that is one."""
        (one,) = self.launches(name, size)
        return one

    def launches(self, name: str, size: int) -> Launches:
        """The launches at a place."""
        return launches_of(name, self.at(name, size).kernel)

    def maybe(self, name: str, size: int) -> Launches:
        """The launch at a place; none where the model has no such place."""
        found = self._at(name, size)
        return tuple(one for candidate in found for one in launches_of(name, candidate.kernel))

    def _at(self, name: str, size: int) -> Iterator[Candidate]:
        return (
            one.candidate
            for one in self._chosen
            if one.place.name == name and one.place.first <= size <= one.place.last
        )

    def matmul(self, codes: str, name: str, out: str, size: int = 0) -> Launch:
        """The library's product at a place; size: of the step, where its reader can scale it."""
        raw = size > 0 and self.raw(size)
        return matmul(codes, name, out, static=self.static, raw=raw, bias=name in self.biased)

    def ends(self, *names: str) -> list[int]:
        """Where the choice at one of these places changes: the last sizes, ascending."""
        return sorted({one.place.last for one in self._chosen if one.place.name in names})

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """All that was chosen."""
        return tuple(one.candidate for one in self._chosen)
