"""Which task leads to which: order, circles and all that runs before (S89)."""

from collections.abc import Iterable, Mapping, Sequence


def sources_of(targets: Mapping[str, Iterable[str]]) -> dict[str, set[str]]:
    """Turn the tasks that each leads to into those that lead to each."""
    sources: dict[str, set[str]] = {i: set() for i in targets}
    for source, found in targets.items():
        for target in found:
            sources[target].add(source)
    return sources


def in_order(sources: Mapping[str, set[str]]) -> list[str]:
    """Sort the tasks so that each comes after those that lead to it; what lies on or behind a circle is left out."""
    waiting = {i: len(s) for i, s in sources.items()}
    leads: dict[str, list[str]] = {i: [] for i in sources}
    for target, found in sources.items():
        for source in found:
            leads[source].append(target)
    order = [i for i, count in waiting.items() if not count]
    for source in order:
        for target in leads[source]:
            waiting[target] -= 1
            if not waiting[target]:
                order.append(target)
    return order


def one_circle(stuck: set[str], sources: Mapping[str, set[str]]) -> list[str]:
    """Walk backwards inside the tasks that never become free until one comes again; gives it from its least id on."""
    path: dict[str, None] = {}
    at = min(stuck)
    while at not in path:
        path[at] = None
        at = min(sources[at] & stuck)
    walked = list(path)
    circle = list(reversed(walked[walked.index(at) :]))
    first = circle.index(min(circle))
    return circle[first:] + circle[:first]


def ancestors(order: Sequence[str], sources: Mapping[str, set[str]], index: Mapping[str, int]) -> dict[str, int]:
    """Find for each task the bits of those that can have ended before it."""
    bits: dict[str, int] = {}
    for task_id in order:
        found = 0
        for source in sources[task_id]:
            found |= bits[source] | 1 << index[source]
        bits[task_id] = found
    return bits
