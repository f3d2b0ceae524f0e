"""How a command ends: its exit status, and the one line that says why."""

from __future__ import annotations

FAILURE = 1
WRONG_ARGUMENTS = 2
BAD_ENVIRONMENT = 3
INTERRUPTED = 130  # what a shell reports for a program that Ctrl-C ended
STATUSES = (
    "Exit status: 0 on success, 1 on failure, 2 for wrong arguments, 3 where an environment "
    "variable of normdrop holds a wrong value, 130 after Ctrl-C."
)


class CommandError(Exception):
    """Something outside of the program stops a command; the text says what, in one line."""

    def __init__(self, text: str, status: int = FAILURE) -> None:
        super().__init__(one_line(text))
        self.status = status


def one_line(text: str) -> str:
    """Put a text into one line, whatever a library or a file has put into it."""
    return " ".join(text.split())


def describe(error: BaseException) -> str:
    """Tell what an expected exception means to a user, without Python's names for it."""
    if isinstance(error, OSError) and error.strerror:
        where = "" if error.filename is None else f"{error.filename}: "
        return one_line(f"{where}{error.strerror}")
    if isinstance(error, MemoryError):
        return one_line(f"not enough memory: {error}") if str(error) else "not enough memory"
    return one_line(str(error))
