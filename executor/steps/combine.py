"""Combination of several errors: hidden ones are omitted, the others joined."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from executor.steps.base import StepError, told_text


class CombinedError(StepError):
    """Error of parallel and codependent steps; its text is empty if all errors are hidden."""

    def __init__(self, errors: Iterable[BaseException]) -> None:
        self.errors = tuple(errors)
        texts = (
            told_text(error) for error in self.errors if not (isinstance(error, StepError) and error.hidden)
        )
        super().__init__("; ".join(text for text in texts if text))


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The individual errors inside an error, in the order of their collection."""
    if isinstance(error, CombinedError):
        for child in error.errors:
            yield from leaves(child)
    else:
        yield error
