"""Runs a module as a program that can import ComfyUI and this repository: `python tools/launch.py cinemo_core.convert SRC DST`.

ComfyUI goes first on the path, because `nodes` and `tests` exist in both. `python -m` cannot do this: it puts the current
folder before everything, and the Python inside ComfyUI's portable Windows build ignores PYTHONPATH.
"""

import errno
import runpy
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != ROOT / "tools"]
    sys.path.insert(0, str(ROOT))
    from tools.console import DevError
    from tools.environment import current_comfyui

    sys.path.insert(0, str(current_comfyui()))
    sys.argv = sys.argv[1:]
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what was started is also shut down on a kill
    try:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    except DevError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        print("error: the disk is full; free some space and run again.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
