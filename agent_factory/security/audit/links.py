"""Whether one seal follows the other."""

from agent_factory.database import audit as store
from agent_factory.security.audit import chain
from agent_factory.security.audit.findings import Finding, Touched, named


class Links:
    """Follows one seal after the other: in the chain of all, or in an organisation's own.

    Where a seal does not follow the one before it, that one was written anew,
    unless the next does not follow either: then it was the one between.
    """

    def __init__(self, *, own: bool) -> None:
        self._own = own
        self._before: store.Seal | None = None
        self._named = False
        self._explained = False
        self._loose = False
        self._suspect: store.Seal | None = None

    def follow(self, seal: store.Seal, fault: Finding | None) -> list[Finding]:
        """Take the next seal and what is wrong with it alone; give what is known to be wrong by now."""
        before, suspect = self._before, self._suspect
        holds = self._loose or self._named or fault is not None or self._holds(seal)
        found: list[Finding] = []
        self._suspect = None
        if suspect is not None:
            found.append(_rewritten(suspect if holds or before is None else before))
        elif not holds:
            fault = self._missing(seal) or (_rewritten(seal) if before is None else None)
            self._suspect = before if fault is None else None
        self._before, self._named, self._loose = seal, fault is not None and fault.sequence == seal.sequence, False
        self._explained = self._explained or self._named
        return found if fault is None else [*found, fault]

    def skip(self) -> list[Finding]:
        """Pass over a seal that is known to be gone."""
        found = self.finish()
        self._loose = self._explained = True
        return found

    def end(self, head: bytes) -> list[Finding]:
        """Hold the last seal against the hash that was signed for it; one that was named before explains any other."""
        last = self._before
        if self._explained or last is None or last.hash == head:
            return self.finish()
        self._suspect, self._named = None, True
        return [_rewritten(last)]

    def finish(self) -> list[Finding]:
        """Give what was still in doubt."""
        suspect, self._suspect = self._suspect, None
        return [] if suspect is None else [_rewritten(suspect)]

    def _number(self, seal: store.Seal) -> int:
        return seal.position if self._own else seal.sequence

    def _holds(self, seal: store.Seal) -> bool:
        before = self._before
        previous = seal.own_previous if self._own else seal.previous
        if before is None:
            return previous == chain.START and self._number(seal) == 1
        return previous == (before.own_hash if self._own else before.hash) and (
            self._number(seal) == self._number(before) + 1
        )

    def _missing(self, seal: store.Seal) -> Finding | None:
        """Tell whether seals are gone before this one."""
        last = 0 if self._before is None else self._number(self._before)
        count = self._number(seal) - last - 1
        if count <= 0:
            return None
        after = self._before.sequence if self._before else 0
        return Finding(
            touched=Touched.DELETED,
            sequence=after + 1,
            detail=f"{count} event(s) are gone before sequence {seal.sequence}.",
        )


def _rewritten(seal: store.Seal) -> Finding:
    return named(Touched.SEAL_EDITED, seal, "Its seal was written anew: the seals beside it do not fit.")
