"""A small hub on 127.0.0.1 that serves a checkpoint folder as huggingface.co serves a repository.

It speaks what huggingface_hub asks for: the list of files with sizes, git blob ids and LFS checksums; `resolve` addresses with
the headers of a commit and of linked files; weights behind a redirect; ranges. Faults are switched on by the tests.
"""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

REPOSITORY = "maxin-cn/Cinemo"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
LFS = (".bin", ".pt", ".ckpt", ".safetensors")


class Seen(NamedTuple):
    """A request: its method, path, and first byte asked for."""

    method: str
    path: str
    start: int


class Hub(ThreadingHTTPServer):
    """Lives as long as the `with` block. `files` are the contents by path; `requests` is what was asked for.

    `cut[path]` is a list: each answer with that file takes the next entry and breaks off after so many bytes. The next answer with
    the file `stall` holds back its last byte, sets `stalled`, and hangs. `corrupt` holds paths whose content has a wrong byte,
    `refuse` is a status with which everything is answered.
    """

    daemon_threads = True

    def __init__(self, folder: Path, repository: str = REPOSITORY):
        self.repository = repository
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
        self.requests: list[Seen] = []
        self.tokens: list[str] = []
        self.cut: dict[str, list[int]] = {}
        self.stall: str | None = None
        self.stalled, self.released = threading.Event(), threading.Event()
        self.corrupt: set[str] = set()
        self.refuse: int | None = None
        self.checksums = True

    def __enter__(self) -> "Hub":
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.released.set()
        self.shutdown()
        self.server_close()

    def listing(self) -> dict:
        return {
            "id": self.repository,
            "modelId": self.repository,
            "sha": COMMIT,
            "private": False,
            "siblings": [self.entry(p) for p in self.files],
        }

    def entry(self, path: str) -> dict:
        content = self.files[path]
        if not self.checksums:
            return {"rfilename": path}
        if not path.endswith(LFS):
            return {"rfilename": path, "size": len(content), "blobId": git_blob_id(content)}
        sha256 = hashlib.sha256(content).hexdigest()
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {len(content)}\n".encode()
        lfs = {"sha256": sha256, "size": len(content), "pointerSize": len(pointer)}
        return {"rfilename": path, "size": len(content), "blobId": git_blob_id(pointer), "lfs": lfs}

    def starts(self, path: str) -> list[int]:
        """First bytes of the requests for the content of a file."""
        place = f"/cdn/{path}" if path.endswith(LFS) else f"/{self.repository}/resolve/{COMMIT}/{path}"
        return [seen.start for seen in self.requests if seen.path == place and seen.method == "GET"]


def git_blob_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_: object) -> None:
        """Says nothing: the tests look at `requests`."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        asked = self.headers.get("Range", "")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        self.server.requests.append(Seen(self.command, path, start))
        self.server.tokens += self.headers.get_all("Authorization", [])
        resolve = f"/{self.server.repository}/resolve/{COMMIT}/"
        if self.server.refuse is not None:
            self.fail(self.server.refuse, "RepoNotFound" if self.server.refuse == 401 else None)
        elif path == f"/api/models/{self.server.repository}":
            self.answer(200, json.dumps(self.server.listing()).encode(), {"Content-Type": "application/json"})
        elif path.startswith("/cdn/"):
            self.send_file(path.removeprefix("/cdn/"), start, bool(asked))
        elif not path.startswith(resolve):
            self.fail(404, "RepoNotFound")
        elif path.removeprefix(resolve) not in self.server.files:
            self.fail(404, "EntryNotFound")
        elif path.endswith(LFS):
            entry = self.server.entry(path.removeprefix(resolve))
            linked = {"X-Linked-Etag": f'"{entry["lfs"]["sha256"]}"', "X-Linked-Size": str(entry["size"]), "X-Repo-Commit": COMMIT}
            self.answer(302, b"", {"Location": f"{self.server.url}/cdn/{path.removeprefix(resolve)}", **linked})
        else:
            self.send_file(path.removeprefix(resolve), start, bool(asked))

    def send_file(self, path: str, start: int, ranged: bool) -> None:
        content = self.server.files[path]
        size = len(content)
        if path in self.server.corrupt:
            content = content[:-1] + bytes([content[-1] ^ 1])
        headers = {"ETag": f'"{git_blob_id(content)}"', "Accept-Ranges": "bytes", "X-Repo-Commit": COMMIT}
        if ranged:
            headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        if path == self.server.stall:
            self.server.stall = None
            self.answer(206 if ranged else 200, content[start:], headers, stall=True)
            return
        cuts = self.server.cut.get(path)
        self.answer(206 if ranged else 200, content[start:], headers, cuts.pop(0) if cuts else None)

    def fail(self, status: int, code: str | None = None) -> None:
        self.answer(status, b"{}", {"X-Error-Code": code} if code else {})

    def answer(self, status: int, body: bytes, headers: dict[str, str], cut: int | None = None, stall: bool = False) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if stall:
            self.wfile.write(body[:-1])
            self.wfile.flush()
            self.server.stalled.set()
            self.server.released.wait()
            return
        self.wfile.write(body[:cut])
        if cut is not None:
            self.close_connection = True
