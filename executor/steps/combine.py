"""Several errors as one: which are hidden, how the others are joined."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from executor.steps.base import StepError, told_text


class CombinedError(StepError):
    """What parallel and codependent steps fail with; an empty text when every error was a hidden one."""

    def __init__(self, errors: Iterable[BaseException]) -> None:
        self.errors = tuple(errors)
        texts = (
            told_text(error) for error in self.errors if not (isinstance(error, StepError) and error.hidden)
        )
        super().__init__("; ".join(text for text in texts if text))


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The single errors inside an error, in the order they were collected."""
    if isinstance(error, CombinedError):
        for child in error.errors:
            yield from leaves(child)
    else:
        yield error
