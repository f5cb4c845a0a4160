"""Talks to the hub through huggingface_hub: what the repository holds, and its files, resumed and compared with their checksums.

The library resumes within one call only and deletes what it has when it gives up, so partial files are kept here. No token
is sent: the repository is public, and a mirror is not to be trusted with one.
"""

import errno
import hashlib
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ..errors import CinemoError
from ..models.published import Published, PublishedFile, PublishedSet

AnyPublished = Published | PublishedFile | PublishedSet

BLOCK = 1 << 22  # bytes read at once for a checksum
NOT_FOUND = 404
TIMEOUT = 30  # seconds until the list of files must have come
HTTP_ERRORS = (
    ("httpx2", "HTTPError"),
    ("httpx2", "InvalidURL"),
    ("httpx", "HTTPError"),
    ("httpx", "InvalidURL"),
    ("requests", "RequestException"),
)


class DownloadError(CinemoError):
    """The hub cannot be reached, or does not give what it should."""


class RemoteFile(NamedTuple):
    """A file of the repository. `digest` is the SHA-256 of its content for LFS files, else its git blob id (SHA-1)."""

    path: str
    size: int
    digest: str
    lfs: bool

    def describe_digest(self) -> str:
        return f"{'sha256' if self.lfs else 'git blob id'} {self.digest}"


class Repository(NamedTuple):
    """One commit of the published repository at an endpoint."""

    published: AnyPublished
    endpoint: str
    commit: str
    files: dict[str, RemoteFile]

    def find(self, path: str) -> RemoteFile:
        """Raises DownloadError if the repository has no such file."""
        if path not in self.files:
            raise DownloadError(
                f"{self.published.repository} at {self.endpoint} has no {path}, which this pack needs: the repository has changed; "
                f"look at {self.published.page} and put the files into place by hand."
            )
        return self.files[path]


def list_repository(published: AnyPublished, endpoint: str | None = None) -> Repository:
    """The newest commit and its files. `endpoint` None: that of HF_ENDPOINT, else huggingface.co.

    Raises DownloadError if the hub cannot be reached, has no such repository, or names no checksums.
    """
    from huggingface_hub import HfApi

    api = HfApi(endpoint=endpoint.rstrip("/") if endpoint else None, token=False)
    with one_sentence(published, api.endpoint):
        info = api.model_info(published.repository, files_metadata=True, timeout=TIMEOUT)
    files = {}
    for entry in info.siblings or ():
        digest = entry.lfs.sha256 if entry.lfs else entry.blob_id
        size = entry.lfs.size if entry.lfs else entry.size
        if digest is not None and size is not None:
            files[entry.rfilename] = RemoteFile(entry.rfilename, size, digest, bool(entry.lfs))
    if info.sha is None or (info.siblings and not files):
        raise DownloadError(f"{api.endpoint} names no checksums for {published.repository}; use another mirror.")
    return Repository(published, api.endpoint, info.sha, files)


def fetch(repository: Repository, file: RemoteFile, target: Path) -> None:
    """Download a file to `target`, or what is missing of it there, and verify it.

    Raises DownloadError; what has arrived by then stays for the next time, unless its checksum is wrong.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    if target.exists() and target.stat().st_size > file.size:
        target.unlink()
    url = hf_hub_url(repository.published.repository, file.path, revision=repository.commit, endpoint=repository.endpoint)
    headers = build_hf_headers(token=False) | {"Accept-Encoding": "identity"}  # a range of a compressed stream is not one of the file
    with one_sentence(repository.published, repository.endpoint, file.path), target.open("ab") as out:
        http_get(url, out, resume_size=out.tell(), headers=headers, expected_size=file.size, displayed_filename=file.path)
    if not is_whole(target, file):
        found = digest(target, file)
        target.unlink()
        raise DownloadError(
            f"{file.path} from {repository.endpoint} has {'sha256' if file.lfs else 'git blob id'} {found}, expected {file.digest}: "
            "deleted; run again, or use another mirror."
        )


def is_whole(path: Path, file: RemoteFile) -> bool:
    """Whether a file on disk is that of the repository, by size and checksum."""
    return path.is_file() and path.stat().st_size == file.size and digest(path, file) == file.digest


def digest(path: Path, file: RemoteFile) -> str:
    """The checksum of a file on disk, of the kind that the hub has for `file`. Git's covers a header: "blob SIZE", NUL."""
    size = path.stat().st_size
    found = hashlib.sha256() if file.lfs else hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with path.open("rb") as content:
        while block := content.read(BLOCK):
            found.update(block)
    return found.hexdigest()


@contextmanager
def one_sentence(published: AnyPublished, endpoint: str, path: str | None = None) -> Iterator[None]:
    """Turn what huggingface_hub and its HTTP library raise into a DownloadError of one sentence."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError

    what = path or published.repository
    try:
        yield
    except OfflineModeIsEnabled:
        raise DownloadError("HF_HUB_OFFLINE is set, which forbids every download; unset it and run again.") from None
    except RepositoryNotFoundError:
        raise DownloadError(
            f"{endpoint} has no public repository {published.repository}; check the address, or use another mirror."
        ) from None
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else None
        if status == NOT_FOUND:
            raise DownloadError(f"{endpoint} has no {what} (404); check the address, or use another mirror.") from None
        raise DownloadError(f"{endpoint} answered {status} for {what}; try again later, or use another mirror.") from None
    except tuple(http_errors()) as error:
        raise DownloadError(
            f"{endpoint} cannot be reached, or the connection broke ({type(error).__name__}); check the connection, or give a "
            "mirror with --endpoint; run the same command again to continue."
        ) from None
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DownloadError(f"The disk is full; {what} is incomplete: free some space and run the same command again.") from None
        if error.errno is not None:
            raise
        raise DownloadError(f"{what} came incomplete from {endpoint}; run the same command again to continue.") from None


def http_errors() -> Iterable[type[Exception]]:
    """Base errors of the HTTP library under huggingface_hub, which is another one in each of its major versions."""
    for module, name in HTTP_ERRORS:
        if module in sys.modules:
            yield getattr(sys.modules[module], name)
