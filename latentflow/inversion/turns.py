"""One loop at a time over a run that several threads hold."""

import threading
from collections.abc import Callable

from latentflow.base.errors import InputError


class Turns:
    """The loops over a run, and the thread that each was last in.

    Loops of one thread share the steps of the run, as loops over one iterator do. Loops of two threads would be in one
    step together: the second is refused.
    """

    def __init__(self) -> None:
        self._loops: dict[object, threading.Thread] = {}
        self._changed = threading.Condition()  # its lock may be taken twice: a loop may be collected as garbage in it

    def take(self, loop: object) -> None:
        """A loop is about to make a step; raises `InputError` while another thread is in a loop."""
        with self._changed:
            if self._is_busy():
                raise InputError(
                    "The run goes on in a loop of another thread.", "Let that one end, or end it with `stop()`."
                )
            self._loops[loop] = threading.current_thread()

    def leave(self, loop: object) -> None:
        """A loop has ended."""
        with self._changed:
            self._loops.pop(loop, None)
            self._changed.notify_all()

    def wait(self, check: Callable[[], object]) -> bool:
        """Wait until no other thread is in a loop; returns whether there was one. `check` is called meanwhile, and may
        raise."""
        with self._changed:
            waited = self._is_busy()
            while self._is_busy():
                check()
                self._changed.wait(0.1)
        return waited

    def _is_busy(self) -> bool:
        here = threading.current_thread()
        return any(each is not here and each.is_alive() for each in self._loops.values())
