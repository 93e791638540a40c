"""Samples by the thousand: what `synthesize` makes, one after the other."""

from collections.abc import Callable, Container, Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tqdm import tqdm

from xsyn_core import grounding
from xsyn_core.boxes import Box
from xsyn_core.checks import checked_request
from xsyn_core.cli import plan
from xsyn_core.curation import store
from xsyn_core.curation.formats import Problems
from xsyn_core.curation.workspace import Workspace
from xsyn_core.errors import XsynError
from xsyn_core.sample import Request, Sample
from xsyn_core.scan import Annotation, Scan

if TYPE_CHECKING:
    from xsyn_core.synthesis import Synthesizer

LAST_SEED = 2**31 - 1
THERE = "Samples that the workspace has, not made again"


@dataclass(frozen=True)
class Batch:
    """What to paint into which scans.

    Attributes:
        scans: the scans.
        names, places: categories and boxes, see `plan.groundings`.
        settings: of every sample; seed and placement count up from the ones here, and groundings
            are each sample's own.
        total: how many samples.
        problems: counts those that could not be made, or were there, and what there is to know
            of the others.
    """

    scans: plan.Scans
    names: Sequence[str]
    places: Sequence[Box]
    settings: Request
    total: int
    problems: Problems = field(default_factory=Problems)

    @property
    def notes(self) -> tuple[str, ...]:
        """What there is to say about scans and samples so far."""
        return *self.scans.notes, *self.problems.notes

    def samples(
        self,
        synthesizer: "Synthesizer",
        progress: tqdm,
        stopped: Callable[[], bool],
        there: Container[Hashable] = (),
    ) -> Iterator[Sample]:
        """Make them until all are made or `stopped`.

        Args:
            progress: counts denoising steps.
            there: the `signs` of samples that are not to be made again.

        Raises:
            XsynError: none could be made, and none was there.
        """
        steps = self.settings.steps
        failed = 0
        for number in range(self.total):
            # Samples of a scan follow each other, so that its segments are found once.
            index = number * len(self.scans) // self.total
            sample = None
            try:
                scan = self.scans[index]
                request = checked_request(scan, self._request(synthesizer, scan, number))
                kept = grounding.kept_annotations(scan, request.groundings, request.variant)
                sign = _sign(scan.sha256, request, kept, synthesizer.models.fingerprint)
                if sign in there:
                    self.problems.add(THERE, self.scans.name(index))
                else:
                    for step in synthesizer.paint(scan, request):
                        # how many steps a scan takes depends on its boxes
                        done = number * steps + steps * step.step // step.steps
                        progress.update(done - progress.n)
                        if stopped():
                            return
                    assert step.result is not None
                    sample = synthesizer.occlude(
                        synthesizer.refine(step.result),
                        request.alpha,
                        request.occluder,
                        request.placement,
                        request.occlusion,
                        request.occlude,
                    )
            except XsynError as error:
                if self.total == 1:
                    raise
                what = f"Samples that could not be made, left out. {error}"
                self.problems.add(what, self.scans.name(index))
                failed += 1
            progress.update((number + 1) * steps - progress.n)
            if sample is not None:
                flags = (flag for item in sample.objects for flag in item.flags)
                for told in dict.fromkeys((*sample.notes, *flags)):
                    self.problems.add(told.rstrip("."), self.scans.name(index))
                yield sample
            if stopped():
                return
        if failed == self.total:
            raise XsynError("Not one sample could be made.")

    def _request(self, synthesizer: "Synthesizer", scan: Scan, number: int) -> Request:
        seed, placement = (
            (first + number) % (LAST_SEED + 1)
            for first in (self.settings.seed, self.settings.placement)
        )
        asked = plan.groundings(
            *(synthesizer, scan, self.settings.catalog, self.settings.variant),
            *(self.names, self.places, seed),
        )
        return replace(self.settings, groundings=asked, seed=seed, placement=placement)


def signs(workspace: Workspace) -> set[Hashable]:
    """What tells the samples of a workspace apart: scan, weights, all settings, and the annotations
    that were kept, but for their masks."""
    found: set[Hashable] = set()
    for record in workspace.records():
        try:
            sample = store.unpack(record.folder, pictures=False)
        except XsynError:
            # one that cannot be read is made again
            continue
        found.add(_sign(sample.scan.sha256, sample.request, sample.kept, sample.weights))
    return found


def _sign(sha256: str, request: Request, kept: Sequence[Annotation], weights: str) -> Hashable:
    told = tuple((known.category, known.iscrowd, *known.box) for known in kept)
    return sha256, request, told, weights
