"""Runs pip, and turns its failures into one sentence. Only ready-made packages are installed: nothing is ever compiled."""

import platform
import re
import subprocess
import sys
from pathlib import Path

from .console import DevError

GIGABYTES = 8 if sys.platform == "linux" else 3  # on the disk: torch for Linux brings the CUDA libraries
# The first pattern found in pip's messages names the cause: network trouble also ends in "no matching distribution".
NETWORK = (
    "NewConnectionError|Max retries exceeded|ConnectTimeout|Read timed out|ConnectionReset|"
    "name resolution|getaddrinfo|Network is unreachable|ProxyError"
)
PLATFORMS = "use Python 3.10 to 3.14 on Linux x86-64, Windows x64, or macOS 14 or newer on Apple silicon"
CAUSES = (
    (
        r"do not match the hashes",
        "the downloaded file is not the expected one (its sha256 differs) and was not used; run again to download it once more",
    ),
    (
        r"all requirements must have their versions pinned with ==. These do not:\s+(?P<package>[\w.\-]+)",
        "it needs {package}, which is not in the list of pinned packages; add it as requirements/README.md says",
    ),
    (r"no space left|errno 28|winerror 112|disk quota", f"the disk is full; free about {GIGABYTES} GB and run again"),
    (
        r"SSLError|CERTIFICATE_VERIFY_FAILED",
        "the package index's certificate is not trusted; check pip's certificate settings, then run again",
    ),
    (NETWORK, "the package index cannot be reached; check the network and pip's proxy and index settings, then run again"),
    (r"Permission denied|Access is denied|externally-managed", "its environment cannot be written to; use one that you may change"),
    (r"No matching distribution found for (?P<package>[\w.\-\[\]]+)", f"there is no ready-made {{package}} for {{system}}; {PLATFORMS}"),
    (r"command '.*' failed|Failed building|Microsoft Visual C\+\+", f"a package would have to be compiled for {{system}}; {PLATFORMS}"),
)


def run_pip(python: Path, *arguments: str | Path, task: str) -> None:
    """Run pip of this interpreter; its progress goes to the terminal, a failure becomes a DevError that starts with `task`."""
    command = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input", *map(str, arguments)]
    process = subprocess.run(command, stderr=subprocess.PIPE, text=True, errors="replace", check=False)
    if process.returncode:
        raise DevError(f"{task} failed: {explain(process.stderr)}.")


def explain(messages: str) -> str:
    """The cause of a pip failure, from what it wrote to stderr."""
    system = f"this Python on {sys.platform} {platform.machine()}"
    for pattern, cause in CAUSES:
        if found := re.search(pattern, messages, re.IGNORECASE):
            return cause.format(system=system, **found.groupdict())
    errors = re.findall(r"^ERROR: (.*?)\.?$", messages, re.MULTILINE)
    return errors[-1] if errors else f"pip gave no reason{': ' + messages.strip().splitlines()[-1] if messages.strip() else ''}"
