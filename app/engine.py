"""The models behind the page: loaded once in the background, used by one handler at a time."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from xsyn_core.errors import XsynError

if TYPE_CHECKING:  # the page is up before torch is imported
    from xsyn_core.synthesis import Synthesizer

log = logging.getLogger(__name__)

State = Literal["loading", "ready", "failed"]


class Engine:
    """Holds one `Synthesizer` for every browser.

    Args:
        load: builds the synthesizer; called once, in a background thread.
        name: how the models are called in the page's top bar.
    """

    def __init__(self, load: "Callable[[], Synthesizer]", name: str = "embedded"):
        self._load = load
        self._name = name
        self._synthesizer: Synthesizer | None = None
        self._problem = ""
        self._started = False
        self._start_lock = threading.Lock()
        self._done = threading.Event()
        self._one = threading.Lock()

    def start(self) -> None:
        """Begin to load the models, once; returns at once."""
        with self._start_lock:
            if self._started:
                return
            self._started = True
        threading.Thread(target=self._run, name="load-models", daemon=True).start()

    def _run(self) -> None:
        try:
            self._synthesizer = self._load()
        except XsynError as error:
            self._problem = str(error)
        except Exception:
            log.exception("The models could not be loaded")
            self._problem = "The models could not be loaded; the server's log says why."
        finally:
            self._done.set()

    @property
    def state(self) -> State:
        """Where loading stands."""
        if not self._done.is_set():
            return "loading"
        return "ready" if self._synthesizer is not None else "failed"

    def report(self) -> dict[str, str]:
        """State, the state in a few words, and why loading failed, for the top bar."""
        text = {
            "loading": "Loading models",
            "ready": f"Ready · {self._name}",
            "failed": "No models",
        }[self.state]
        return {"state": self.state, "text": text, "why": self._problem}

    def waiting(self, text: str) -> str:
        """What to say while a handler waits: that the models load, or else `text`."""
        return "Waiting for the models …" if self.state == "loading" else text

    @contextmanager
    def use(self) -> "Iterator[Synthesizer]":
        """The synthesizer, for this thread alone; waits until it is loaded and free.

        Raises:
            XsynError: the models could not be loaded.
        """
        self.start()
        self._done.wait()
        if self._synthesizer is None:
            raise XsynError(self._problem)
        with self._one:
            yield self._synthesizer
