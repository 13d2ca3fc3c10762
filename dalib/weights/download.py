"""One file over https: resumed where it broke off, checked, and in place only when it is right."""

import logging
import os
import ssl
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from dalib.checks import input_error
from dalib.weights.cache import check_sha256, sha256_of

CHUNK = 1 << 20
TIMEOUT = 60.0
ATTEMPTS = 3
LOG = logging.getLogger("dalib.weights")


def download(url: str, path: Path, *, sha256: str = "", prefix: str = "") -> Path:
    """Fetches ``url`` to ``path``. What has arrived stays in ``path.part`` and is continued by the next call.

    Args:
        url: of the file; https, or any that ``urllib`` opens when a full sha256 is on record.
        path: where it goes; its folder is made.
        sha256: of the complete file, if known.
        prefix: the first digits of it, if no more is known.

    Raises:
        InputError: without a network, for an answer other than the file, or for another content than expected; then
            nothing is left in place of ``path``, nor of the part.
    """
    if urllib.parse.urlsplit(url).scheme != "https" and not sha256:
        raise input_error("url", got=url, expected="an https address", todo="a file over http needs a known sha256")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    for attempt in range(ATTEMPTS):
        try:
            _continue(url, part)
            break
        except (urllib.error.URLError, OSError) as error:
            gone = isinstance(error, urllib.error.HTTPError) and 400 <= error.code < 500
            if gone or attempt == ATTEMPTS - 1:
                raise _unreachable(url, error, part) from None
            LOG.info("%s broke off (%s); going on", url, error)
    try:
        check_sha256(sha256_of(part), full=sha256, prefix=prefix, what=url)
    except ValueError:
        part.unlink()
        raise
    os.replace(part, path)
    return path


def open_url(url: str, headers: dict[str, str] | None = None) -> Any:
    """Opens an address with the certificates that pip is configured with, if it is."""
    context = ssl.create_default_context(cafile=os.environ.get("PIP_CERT") or None)
    request = urllib.request.Request(url, headers={"User-Agent": "dalib", **(headers or {})})
    return urllib.request.urlopen(request, timeout=TIMEOUT, context=context)


def _continue(url: str, part: Path) -> None:
    have = part.stat().st_size if part.exists() else 0
    try:
        response = open_url(url, {"Range": f"bytes={have}-"} if have else {})
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        # The server has nothing behind what is here: it is complete, or not this file; the sha256 will tell.
        return
    with response:
        # A server that does not know ranges sends the whole file again, with status 200.
        resumed = have > 0 and getattr(response, "status", None) == 206
        start = have if resumed else 0
        length = response.headers.get("Content-Length")
        with part.open("ab" if resumed else "wb") as file:
            while chunk := response.read(CHUNK):
                file.write(chunk)
    if length is not None and part.stat().st_size < start + int(length):
        raise OSError(f"{part.stat().st_size} of {start + int(length)} bytes came")


def _unreachable(url: str, error: Exception, part: Path) -> Exception:
    kept = f"; {part.stat().st_size} bytes are kept and will be continued" if part.exists() else ""
    return input_error(
        "url",
        got=f"{url}: {error}{kept}",
        expected="an answer with the file",
        todo="check the network; on a machine without one, fetch the file elsewhere and name it: "
        "python -m dalib.weights convert NAME --checkpoint FILE",
    )
