"""What can go wrong with large values."""

from agent_factory.kit.errors import Invalid, Kind, NotFound, Problem, Unavailable


class StorageMisconfigured(Invalid):
    """A setting that names no store."""

    code = "storage_misconfigured"
    title = "The object store is not set up correctly"


class StorageUnavailable(Unavailable):
    """A store that cannot be reached, or refuses us."""

    code = "storage_unavailable"
    title = "The object store cannot be used now"


class ObjectGone(NotFound):
    """A value that is not there, or another organisation's."""

    code = "object_not_found"
    title = "There is no such value"


class ObjectBroken(Problem):
    """A value whose content is not what its digest says."""

    kind = Kind.INTERNAL
    code = "object_broken"
    title = "A stored value is damaged"


class ObjectTooLarge(Problem):
    """A value larger than one may be."""

    kind = Kind.TOO_LARGE
    code = "object_too_large"
    title = "The value is too large to be stored"
