"""What can be wrong with a user's input, said so that the user can mend it.

Every error here is a sentence for the person at the keyboard: what is wrong, where, and how to mend it. The
command line prints it and leaves with exit code 2. A programming error is never wrapped in one of these.
"""


class InvalidInput(ValueError):
    """An argument, file or cohort that cannot be used as it is.

    Args:
        problem: what is wrong and where: file, row, column, argument, with the value found.
        mend: how to put it right, as an instruction.
    """

    def __init__(self, problem: str, mend: str = "") -> None:
        self.problem = problem.rstrip()
        self.mend = mend.rstrip()
        super().__init__(f"{self.problem} {self.mend}".rstrip())


class UnreadableImage(InvalidInput):
    """An image that cannot be decoded whole; in bulk work it becomes a rejected row, with its reason."""


class BrokenBundle(InvalidInput):
    """A bundle whose files are missing, changed, or of a format this version does not read."""


class MissingResource(InvalidInput):
    """Something outside the program that is not there: a hub, a font, a device, space on the disk."""
