"""Thoughts that a server leaves in the answer's words, between <think> and </think> at its start."""

_OPEN = "<think>"
_CLOSE = "</think>"


class ThinkTags:
    """Splits words into thoughts and answer, however they are cut."""

    def __init__(self) -> None:
        """Start before the first word."""
        self._held = ""
        self._state = "start"

    def split(self, words: str) -> tuple[str, str]:
        """Take more words and give (thoughts, answer), each as far as it is clear which it is."""
        if self._state == "answer":
            return "", words
        self._held += words
        if self._state == "start":
            begun = self._held.lstrip()
            if len(begun) < len(_OPEN) and _OPEN.startswith(begun):
                return "", ""
            if not begun.startswith(_OPEN):
                self._state = "answer"
                return "", self._release("")
            self._state = "thought"
            self._held = begun[len(_OPEN) :]
        thought, closed, answer = self._held.partition(_CLOSE)
        if closed:
            self._state = "answer"
            self._held = ""
            return thought, answer
        held = next((n for n in range(len(_CLOSE) - 1, 0, -1) if thought.endswith(_CLOSE[:n])), 0)
        return self._release(thought[len(thought) - held :]), ""

    def finish(self) -> tuple[str, str]:
        """Give what is still held: a thought that was never closed, or words that only looked like one."""
        held = self._release("")
        return (held, "") if self._state == "thought" else ("", held)

    def _release(self, keep: str) -> str:
        out = self._held[: len(self._held) - len(keep)]
        self._held = keep
        return out
