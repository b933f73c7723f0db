"""Letters for whoever runs the product by hand: they appear at its terminal."""

import sys
from typing import TextIO

from agent_factory.connectors.mail.letter import Letter


class Console:
    """Writes letters to the standard error stream."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream

    async def send(self, letter_id: str, letter: Letter) -> None:
        """Write a letter down, between two lines."""
        stream = self._stream or sys.stderr
        lines = [f"--- mail {letter_id}", f"To: {letter.to}", f"Subject: {letter.subject}", "", letter.text.rstrip()]
        stream.write("\n".join([*lines, "---", ""]))
        stream.flush()
