"""Try: ignores the failure of its child."""

from __future__ import annotations

import asyncio
import logging

from executor.steps.base import Step, StepError

logger = logging.getLogger(__name__)


class Try:
    """Succeeds even if the child fails or is interrupted."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self.ready = step.ready

    async def run(self) -> None:
        try:
            await self._step.run()
        except StepError as error:
            logger.info("try.failed", extra={"data": {"error": str(error), "step": error.path}})
        except asyncio.CancelledError:
            logger.info("try.cancelled")
