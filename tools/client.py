"""Runs workflows on a ComfyUI server over HTTP and its websocket, and says in a sentence what went wrong."""

import asyncio
import functools
import json
import threading
import uuid
from collections.abc import Callable, Coroutine
from concurrent.futures import wait
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import aiohttp

from .console import DevError

Workflow = dict[str, dict[str, Any]]  # API format: node id -> {"class_type", "inputs"}
Result = TypeVar("Result")
PREVIEW_IMAGE = 1  # ComfyUI's number for this kind of binary message


class WorkflowError(DevError):
    """A workflow was refused or failed. `node_errors` is what the server says of each node at fault."""

    def __init__(self, message: str, node_errors: dict[str, Any] | None = None):
        super().__init__(message)
        self.node_errors = node_errors or {}


class Progress(NamedTuple):
    """How far the node that is running has come."""

    node: str  # its id in the workflow
    title: str
    value: float
    maximum: float


def ignore(_: Any) -> None:
    """The listener of those who do not listen."""


class Client:
    """Talks to one server. `previews` are the images (JPEG or PNG bytes) that samplers sent during the last run."""

    def __init__(self, url: str):
        self.url = url
        self.previews: list[bytes] = []

    def get(self, path: str) -> Any:
        """The JSON that a route answers with."""
        return json.loads(self._request("GET", path))

    def post(self, path: str, body: dict[str, Any]) -> None:
        """Send JSON to a route, such as /interrupt or /free."""
        self._request("POST", path, json=body)

    def upload(self, image: Path) -> str:
        """Put an image file into the server's input folder; gives the name that LoadImage takes."""
        return self.upload_bytes(image.name, image.read_bytes())

    def upload_bytes(self, name: str, content: bytes) -> str:
        """The same for the content of a file."""
        form = aiohttp.FormData()
        form.add_field("image", content, filename=name)
        return json.loads(self._request("POST", "/upload/image", data=form))["name"]

    def fetch(self, file: dict[str, str]) -> bytes:
        """The content of an output file, as named by the outputs of a run."""
        return self._request("GET", "/view", params=file)

    def _request(self, method: str, path: str, **options: Any) -> bytes:
        async def request() -> bytes:
            async with aiohttp.ClientSession(self.url) as session, session.request(method, path, **options) as response:
                response.raise_for_status()
                return await response.read()

        try:
            return run_to_end(request())
        except aiohttp.ClientError as error:
            raise DevError(f"ComfyUI at {self.url} did not answer {method} {path} as it should ({error}).") from error

    def run(
        self, workflow: Workflow, progress: Callable[[Progress], None] = ignore, started: Callable[[str], None] = ignore
    ) -> dict[str, dict[str, Any]]:
        """Run a workflow to its end; gives the outputs by node id. Raises WorkflowError if it is refused or fails.

        `started` gets the id of each node when it starts, `progress` what a node reports while it runs.
        """
        return run_to_end(self._run(workflow, progress, started))

    async def _run(
        self, workflow: Workflow, progress: Callable[[Progress], None], started: Callable[[str], None]
    ) -> dict[str, dict[str, Any]]:
        client_id = uuid.uuid4().hex
        self.previews = []
        try:
            async with (
                aiohttp.ClientSession(self.url) as session,
                session.ws_connect("/ws", params={"clientId": client_id}, max_msg_size=0) as socket,
            ):
                prompt_id = await self._submit(session, workflow, client_id)
                await self._follow(socket, workflow, prompt_id, progress, started)
                async with session.get(f"/history/{prompt_id}") as response:
                    return (await response.json())[prompt_id]["outputs"]
        except aiohttp.ClientError as error:
            raise DevError(f"The connection to ComfyUI at {self.url} broke ({error}).") from error

    async def _submit(self, session: aiohttp.ClientSession, workflow: Workflow, client_id: str) -> str:
        async with session.post("/prompt", json={"prompt": workflow, "client_id": client_id}) as response:
            answer = await response.json()
            if response.status != 200:
                raise WorkflowError(refusal(answer), answer.get("node_errors"))
            return answer["prompt_id"]

    async def _follow(
        self,
        socket: "aiohttp.ClientWebSocketResponse[bool]",
        workflow: Workflow,
        prompt_id: str,
        progress: Callable[[Progress], None],
        started: Callable[[str], None],
    ) -> None:
        """Read messages until the server is done with the prompt; raise what it reports."""
        failure: WorkflowError | None = None
        async for message in socket:
            if message.type is aiohttp.WSMsgType.BINARY:
                if int.from_bytes(message.data[:4], "big") == PREVIEW_IMAGE:
                    self.previews.append(message.data[8:])  # after 4 bytes that name the image format
                continue
            event = json.loads(message.data)
            kind, data = event["type"], event["data"]
            if data.get("prompt_id") != prompt_id:
                continue
            if kind == "progress":
                step = Progress(data["node"], title(workflow, data["node"]), data["value"], data["max"])
                await asyncio.to_thread(progress, step)  # so that it may use a client itself
            elif kind == "execution_error":
                failure = WorkflowError(f"{title(workflow, data['node_id'])} failed: {data['exception_message'].strip()}")
            elif kind == "execution_interrupted":
                failure = WorkflowError(f"{title(workflow, data['node_id'])} was interrupted.")
            elif kind == "executing" and data["node"] is None:  # sent after the outputs have gone into the history
                if failure:
                    raise failure
                return
            elif kind == "executing":
                await asyncio.to_thread(started, data["node"])
        raise DevError(f"ComfyUI at {self.url} went away while it worked on the prompt.")


def run_to_end(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """What a coroutine returns. It runs in another thread, because Ctrl-C is raised in this one, which only waits.

    Raised amid asyncio it can be lost: finalizers drop it, and aiohttp's parser takes it for a broken connection.
    """
    future = asyncio.run_coroutine_threadsafe(coroutine, event_loop())
    try:
        while not wait([future], timeout=0.2).done:  # on Windows, waiting without a limit cannot be interrupted
            pass
        return future.result()
    except KeyboardInterrupt:
        future.cancel()
        raise


@functools.cache
def event_loop() -> asyncio.AbstractEventLoop:
    """The loop of all clients, in a thread that lives as long as the program."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="client", daemon=True).start()
    return loop


def title(workflow: Workflow, node: str) -> str:
    """A node's title, or its type if it has none."""
    entry = workflow.get(node, {})
    return entry.get("_meta", {}).get("title") or entry.get("class_type", f"node {node}")


def refusal(answer: dict[str, Any]) -> str:
    """One sentence from a 400 answer to /prompt."""
    reasons = [
        f"{entry['class_type']} (node {node}): {error['message']}{': ' + error['details'] if error['details'] else ''}"
        for node, entry in answer.get("node_errors", {}).items()
        for error in entry["errors"]
    ]
    error = answer["error"]
    return f"ComfyUI refused the workflow: {'; '.join(reasons) or error['message'] + ' ' + error['details']}"
