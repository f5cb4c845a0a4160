"""Running what the page shows: pressing the button, and the server's history of it."""

import time

SECONDS_TO_RUN = 120


def history(page, server) -> dict:
    return page.request.get(f"{server.url}/history").json()


def press_run(page, server, seconds: float = SECONDS_TO_RUN) -> dict:
    """Press the button; gives the history's entry of the run once it is over."""
    before = history(page, server)
    page.get_by_test_id("queue-button").click()
    return next_entry(page, server, before, seconds)


def next_entry(page, server, before: dict, seconds: float = SECONDS_TO_RUN) -> dict:
    """The history's entry of the run that was not in `before`, once it is over."""
    deadline = time.monotonic() + seconds
    while not (new := [entry for name, entry in history(page, server).items() if name not in before]):
        assert time.monotonic() < deadline, "the run does not end"
        page.wait_for_timeout(300)
    return new[0]
