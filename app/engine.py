"""The models behind the page: loaded in the background, used by one handler at a time."""

import gc
import logging
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from app.computing import ComputingThread
from xsyn_core import catalogs
from xsyn_core.categories import Catalog
from xsyn_core.errors import XsynError

if TYPE_CHECKING:  # the page is up before torch is imported
    from xsyn_core.synthesis import Synthesizer

log = logging.getLogger(__name__)

T = TypeVar("T")
State = Literal["loading", "ready", "failed"]


EMBEDDED = "embedded"  # as in `weight_sources`, without importing torch

FIXED = (
    "Other machines can reach this page, so its models are chosen where it is started: "
    "python app.py --diffusion X --sam Y."
)


@dataclass(frozen=True)
class Choice:
    """Which models, as `weights.load_models` takes them."""

    diffusion: str = EMBEDDED
    sam: str = EMBEDDED

    @property
    def name(self) -> str:
        """For people."""
        if self == Choice():
            return "embedded models"
        parts = (self.diffusion,) if self.sam == EMBEDDED else (self.diffusion, self.sam)
        return " + ".join(Path(part).name for part in parts)


class Engine:
    """Holds one `Synthesizer` for every browser.

    Args:
        load: builds the synthesizer of a choice; never called twice at once.
        choice: which models come first.
        fixed: pages cannot choose others.
    """

    def __init__(
        self,
        load: "Callable[[Choice], Synthesizer]",
        choice: Choice = Choice(),
        fixed: bool = False,
    ):
        self.choice, self.fixed = choice, fixed
        self._load = load
        self._synthesizer: Synthesizer | None = None
        self._problem = ""
        self._started = False
        self._start_lock = threading.Lock()
        self._done = threading.Event()
        self._one = threading.Lock()
        self._thread = ComputingThread()

    def start(self) -> None:
        """Begin to load the models, once; returns at once."""
        with self._start_lock:
            if self._started:
                return
            self._started = True
        self._thread.submit(self._run)

    def _run(self) -> None:
        try:
            self._synthesizer, self._problem = self._load(self.choice), ""
        except XsynError as error:
            self._problem = str(error)
        except Exception:
            log.exception("The models could not be loaded")
            self._problem = "The models could not be loaded; the server's log says why."
        finally:
            self._done.set()

    def exchange(self, choice: Choice) -> None:
        """Load other models and use them from now on, for every browser; waits until it is done.

        The present ones go first, for there may not be memory for both, and come back where the
        others cannot be loaded.

        Raises:
            XsynError: pages cannot choose, or the models could not be loaded.
        """
        if self.fixed:
            raise XsynError(FIXED)
        self.start()
        self._done.wait()
        with self._one:
            before, had_models = self.choice, self._synthesizer is not None
            self._done.clear()
            self._synthesizer, self.choice = None, choice
            gc.collect()
            self._thread.run(self._run)
            problem = self._problem
            if problem and had_models:
                self.choice = before
                self._thread.run(self._run)
        if problem:
            raise XsynError(problem)

    @property
    def state(self) -> State:
        """Where loading stands."""
        if not self._done.is_set():
            return "loading"
        return "ready" if self._synthesizer is not None else "failed"

    @property
    def catalog(self) -> Catalog | None:
        """What the models were fine-tuned to paint, if they say so."""
        synthesizer = self._synthesizer  # another handler may exchange it
        if synthesizer is not None:
            return synthesizer.catalog
        try:
            return catalogs.of_model(self.choice.diffusion)
        except XsynError:  # loading the models tells it
            return None

    def report(self) -> dict[str, str]:
        """State, the state in a few words, and why loading failed, for the top bar."""
        text = {
            "loading": "Loading models",
            "ready": f"Ready · {self.choice.name}",
            "failed": "No models",
        }[self.state]
        return {"state": self.state, "text": text, "why": self._problem}

    def waiting(self, text: str) -> str:
        """What to say while a handler waits: that the models load, or else `text`."""
        return "Waiting for the models …" if self.state == "loading" else text

    def run(self, work: "Callable[[Synthesizer], T]") -> T:
        """What `work` makes of the synthesizer; waits until that is loaded and free.

        Raises:
            XsynError: the models could not be loaded.
        """
        with self._use() as synthesizer:
            return self._thread.run(lambda: work(synthesizer))

    def steps(
        self, work: "Callable[[Synthesizer], Generator[T, None, None]]"
    ) -> Generator[T, None, None]:
        """What the generator `work` yields; no other handler has the models until it ends.

        Raises:
            XsynError: the models could not be loaded.
        """
        with self._use() as synthesizer:
            yield from self._thread.steps(work(synthesizer))

    @contextmanager
    def _use(self) -> "Iterator[Synthesizer]":
        self.start()
        self._done.wait()
        with self._one:
            if self._synthesizer is None:
                raise XsynError(self._problem)
            yield self._synthesizer
