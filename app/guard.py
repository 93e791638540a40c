"""What all handlers share: messages for the operator, updates of the canvas."""

import functools
import html
import inspect
import logging
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from app import incoming
from app.session import Session
from xsyn_core.errors import XsynError

log = logging.getLogger(__name__)

IDLE: dict[str, Any] = {}


def shown(message: str) -> str:
    """A message for one of Gradio's toasts, which render HTML."""
    return html.escape(message)


def guarded(method: Callable) -> Callable:
    """Show an `XsynError` as a message; log anything else and say that it happened."""

    def told(error: Exception) -> gr.Error:
        if isinstance(error, gr.Error):
            return error
        if isinstance(error, XsynError):
            return gr.Error(shown(str(error)), title="", print_exception=False, duration=8)
        log.error("A handler of the page failed", exc_info=error)
        return gr.Error(
            "Something went wrong here, not with what you did. The server's log has the details; "
            "your work is still here.",
            title="",
            print_exception=False,
        )

    if inspect.isgeneratorfunction(method):

        @functools.wraps(method)
        def steps(*args: Any, **kwargs: Any) -> Iterator[Any]:
            try:
                yield from method(*args, **kwargs)
            except Exception as error:
                raise told(error) from None

        return steps

    @functools.wraps(method)
    def once(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except Exception as error:
            raise told(error) from None

    return once


def canvas(**props: Any) -> Any:
    """An update of the canvas."""
    return gr.HTML(**props)


def placed(
    session: Session, items: list[dict[str, Any]], instead: Any = None, proposed: bool = False
) -> dict[str, Any]:
    """Boxes for the canvas, to join those that are drawn while this message is on its way.

    Args:
        instead: the canvas's value when it asked; those of its boxes that are still as they were
            make room.
        proposed: they are what Propose found.
    """
    return {
        "id": secrets.token_hex(4),
        "scan": session.scan_id,
        "boxes": items,
        "instead": incoming.drawn(instead, session.scan_id),
        "proposed": proposed,
    }
