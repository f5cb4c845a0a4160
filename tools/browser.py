"""Gets a browser for the tests of the frontend: one that is installed, else Playwright's own, else Debian's. Standard library only."""

import contextlib
import os
import platform
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from .console import DevError, say

CHROMIUM = "CHROMIUM"  # the variable that names a browser
COMMANDS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge", "msedge")
MACOS = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
)
WINDOWS = (r"Google\Chrome\Application\chrome.exe", r"Microsoft\Edge\Application\msedge.exe")  # in any folder of programs

START_SECONDS = 60
DOWNLOAD_SECONDS = 900
CONNECT_MILLISECONDS = "10000"  # Playwright tries five times; its own 30 s each would be minutes where nothing answers
PACKAGE_SECONDS = 900
APT_GET = ("apt-get", "-qq", "-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=30", "-o", "Acquire::https::Timeout=30")

# Run by the Python that has Playwright.
START = """
import sys
from playwright.sync_api import sync_playwright
with sync_playwright() as playwright:
    playwright.chromium.launch(executable_path=sys.argv[1], args=["--no-sandbox"]).close()
"""
WHERE = """
from playwright.sync_api import sync_playwright
with sync_playwright() as playwright:
    print(playwright.chromium.executable_path)
"""


def obtain_browser(python: Path) -> str:
    """The path of a Chromium that starts, got on the way if need be; `python` is an interpreter that has Playwright.

    Says which one it is. Raises DevError if none can be had.
    """
    chosen = os.environ.get(CHROMIUM)
    if chosen:
        if not starts(python, chosen):
            raise DevError(
                f"{CHROMIUM} is {chosen}, which does not start as a Chromium; give the path of one, or unset it for one that is found."
            )
        return chosen
    for path in installed():
        if starts(python, path):
            say(f"* browser: {path}, which is installed")
            return path
    path = playwrights_own(python)
    if starts(python, path):
        say(f"* browser: {path}, which Playwright downloaded earlier")
        return path
    say("* no browser is installed: Playwright downloads its Chromium, about 200 MB")
    if download(python):
        if starts(python, path):
            return path
        say("* that browser does not start, most likely for want of system libraries")
    else:
        say("* that could not be downloaded")
    if is_debian_as_root():
        say("* installing the package chromium with apt-get")
        install_package()
        for path in installed():
            if starts(python, path):
                return path
    raise DevError(
        "There is no browser for the tests of the frontend, and none could be downloaded: "
        f"install Chromium or Chrome, name one in {CHROMIUM}, or leave these tests out with --no-browser."
    )


def installed() -> Iterator[str]:
    """Paths of browsers that Playwright can drive, the likeliest first; whether they start is another question."""
    yield from filter(None, map(shutil.which, COMMANDS))
    if sys.platform == "darwin":
        yield from filter(os.path.exists, MACOS)
    if sys.platform == "win32":
        programs = filter(None, map(os.environ.get, ("PROGRAMFILES", "PROGRAMFILES(X86)", "LOCALAPPDATA")))
        yield from (path for folder in programs for name in WINDOWS if os.path.exists(path := os.path.join(folder, name)))


def starts(python: Path, browser: str) -> bool:
    """Whether Playwright can start it: a snap may not reach its profile, a bare system may lack libraries."""
    command = [str(python), "-c", START, browser]
    return os.path.exists(browser) and finishes(command, START_SECONDS, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def playwrights_own(python: Path) -> str:
    """Where Playwright keeps its Chromium, there or not."""
    found = subprocess.run([str(python), "-c", WHERE], stdout=subprocess.PIPE, text=True, check=False)
    if found.returncode:
        raise DevError(f"Playwright does not run with {python}; install it again, or leave its tests out with --no-browser.")
    return found.stdout.strip()


def download(python: Path) -> bool:
    variables = {"PLAYWRIGHT_DOWNLOAD_CONNECTION_TIMEOUT": CONNECT_MILLISECONDS} | os.environ
    command = [str(python), "-m", "playwright", "install", "--no-shell", "chromium"]
    return finishes(command, DOWNLOAD_SECONDS, variables, stderr=subprocess.DEVNULL)  # a stack trace for each attempt


def is_debian_as_root() -> bool:
    """Only Debian: Ubuntu's package of that name is a snap, which does not work in a container."""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("apt-get") is None:
        return False
    try:
        return platform.freedesktop_os_release().get("ID") == "debian"
    except OSError:
        return False


def install_package() -> None:
    variables = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    update, install = ["update"], ["install", "--yes", "--no-install-recommends", "chromium"]
    for step in (update, install):  # if the first fails, the lists that are there may do
        finishes([*APT_GET, *step], PACKAGE_SECONDS, variables, stdout=subprocess.DEVNULL)


def finishes(
    command: list[str], seconds: float, variables: Mapping[str, str] | None = None, *, stdout: int | None = None, stderr: int | None = None
) -> bool:
    """Whether a command ends well within that time; if it takes longer, it is ended with all that it started."""
    try:
        process = subprocess.Popen(command, env=variables, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, start_new_session=True)
    except OSError:
        return False
    try:
        return process.wait(seconds) == 0
    except subprocess.TimeoutExpired:
        return False
    finally:
        if process.poll() is None:  # also after Ctrl-C, which does not reach another session
            end(process)


def end(process: subprocess.Popen) -> None:
    if sys.platform == "win32":
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(process.pid)], capture_output=True, check=False)
    else:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
