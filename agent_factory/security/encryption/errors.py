"""What can go wrong with keys and what they seal."""

from agent_factory.kit.errors import Kind, Problem, Unavailable


class KeyMissing(Problem):
    """The key that wrapped a data key is not known here."""

    kind = Kind.INTERNAL
    code = "encryption_key_missing"
    title = "The encryption key is missing"


class KeyFileExposed(Problem):
    """The key file can be read by others than its owner."""

    kind = Kind.INTERNAL
    code = "key_file_exposed"
    title = "The key file can be read by others"


class KeyFileBroken(Problem):
    """The key file is not one of ours, or cannot be read."""

    kind = Kind.INTERNAL
    code = "key_file_broken"
    title = "The key file cannot be used"


class CannotDecrypt(Problem):
    """The ciphertext was changed, moved, or sealed for somebody else."""

    kind = Kind.INTERNAL
    code = "cannot_decrypt"
    title = "This cannot be decrypted"


class KeyServiceAway(Unavailable):
    """The key management service does not answer."""

    code = "key_service_unavailable"
    title = "The key management service does not answer"
