"""The moving pictures of views: where they go, and what becomes of a view when they break off."""

from collections.abc import Callable, Iterator

from latentflow.errors import LatentflowError
from latentflow.explore.report import ViewReport
from latentflow.interrupts import Interrupts
from latentflow.records import Frame
from latentflow.sinks import run_sinks
from latentflow.sinks.background import Background
from latentflow.sinks.frames import FrameSink
from latentflow.sinks.progress import Progress


def write_moving(
    sink: FrameSink,
    records: Iterator[Frame],
    total: int,
    interrupts: Interrupts,
    report: ViewReport,
    *,
    quiet: bool,
    describe: Callable[[Frame], str],
) -> None:
    """Write frames, the last of which has index `total`; how many goes to the report's figures.

    What breaks them off goes to the report as well, but is raised when there are none and the view has nothing else.
    """
    progress = Progress(total, not quiet, describe=describe, unit="frame")
    try:
        run_sinks(interrupts.watch(records), [Background(sink), progress])
    except LatentflowError as error:
        if not sink.frames and report.written == [sink.path]:
            raise
        report.error = error
    report.figures["frames"] = sink.frames
