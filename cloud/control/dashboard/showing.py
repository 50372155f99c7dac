"""How values look on the pages."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from fastapi import Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from adaptation.policies import NAMES
from cloud.control.dashboard.sessions import Session

NONE: Final = "–"
POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}
POLICIES: Final = ("deadline", *(name for name in NAMES if name != "deadline"))
_UNITS: Final = ((86_400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))


def page(
    request: Request, template: str, session: Session | None, values: Mapping[str, Any], status: int = 200
) -> Response:
    """A page; it shows and forgets the session's messages, unless the script only looks for what is new."""
    messages: list[str] = []
    if session is not None and "x-live" not in request.headers:
        messages, session.messages = session.messages, []
    text = _environment.get_template(template).render(
        **values, session=session, messages=messages, path=request.url.path, now_s=time.time()
    )
    return HTMLResponse(text, status, dict(HEADERS))


def age(seconds: float | None) -> str:
    """`12 s`, `5 min`, `3 h`."""
    if seconds is None:
        return "never"
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return "now"


def moment(unix_s: float | None) -> str:
    """A time of day, in UTC."""
    return NONE if unix_s is None else datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def percent(share: float | None) -> str:
    """`97.5 %`."""
    return NONE if share is None else f"{share * 100:.1f} %"


def milliseconds(seconds: Any) -> str:
    """`47 ms`."""
    return f"{seconds * 1e3:,.0f} ms" if isinstance(seconds, int | float) else NONE


def megabits(bps: Any) -> str:
    """`1.25 Mbit/s`."""
    return f"{bps / 1e6:,.2f} Mbit/s" if isinstance(bps, int | float) else NONE


def size(count: int) -> str:
    """`412 KiB`, `3.9 MiB`."""
    return f"{count / (1 << 20):,.1f} MiB" if count >= 1 << 20 else f"{count / (1 << 10):,.0f} KiB"


def short(digest: str | None) -> str:
    """The beginning of a digest."""
    return NONE if digest is None else digest[:12]


def count(number: int) -> str:
    """`1,234,567`."""
    return f"{number:,}"


def dash(value: Any) -> Any:
    """The value, or a dash where there is none."""
    return NONE if value is None or value == "" else value


def _made() -> Environment:
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        age=age, moment=moment, percent=percent, milliseconds=milliseconds, megabits=megabits, size=size,
        short=short, count=count, dash=dash,
    )  # fmt: skip
    return made


_environment = _made()
