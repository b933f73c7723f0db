"""What can go wrong with a user's code."""

from agent_factory.kit.errors import Kind, Problem


class CodeFailed(Problem):
    """The code raised, or its process ended without a result.

    `line` is the line of the code; `trace` lists (line, function) from the
    outside in; `stdout` and `stderr` are what it had printed.
    """

    kind = Kind.INVALID
    code = "code_failed"
    title = "The code failed"

    def __init__(
        self,
        detail: str,
        *,
        line: int | None = None,
        trace: tuple[tuple[int, str], ...] = (),
        stdout: str = "",
        stderr: str = "",
    ) -> None:
        """Keep where and with what words it failed."""
        super().__init__(detail)
        self.line = line
        self.trace = trace
        self.stdout = stdout
        self.stderr = stderr


class CodeTimeout(Problem):
    """The code used up its time, on the clock or on the processor."""

    kind = Kind.TIMEOUT
    code = "code_timeout"
    title = "The code took too long"


class CodeOutOfMemory(Problem):
    """The code used up its memory."""

    kind = Kind.TOO_LARGE
    code = "code_out_of_memory"
    title = "The code needs more memory"


class CodeTooMuchOutput(Problem):
    """The code printed or returned more than it may."""

    kind = Kind.TOO_LARGE
    code = "code_too_much_output"
    title = "The code gives too much output"


class CodeRefused(Problem):
    """A job that this installation does not run: beyond its limits, a network or an image that is not allowed."""

    kind = Kind.FORBIDDEN
    code = "code_refused"
    title = "This code is not run here"


class TierUnavailable(Problem):
    """No tier that could run the job is available; the sentence says what to install."""

    kind = Kind.UNAVAILABLE
    code = "code_tier_unavailable"
    title = "Code cannot be run here"


class SandboxFailed(Problem):
    """The tier itself broke, before or while it ran the code; the same job may succeed later."""

    kind = Kind.UPSTREAM
    code = "sandbox_failed"
    title = "The sandbox failed"
    retryable = True
