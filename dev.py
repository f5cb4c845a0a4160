#!/usr/bin/env python3
"""Sets up, runs and checks this project. Standard library only; start with `python dev.py demo`.

What it needs goes into `.venv` and `.comfyui` next to this file; both can be deleted at any time. With COMFYUI_PATH set, the
ComfyUI there and its Python are used instead.
"""

import argparse
import errno
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
DEMO_OPTIONS = ("image", "prompt", "motion_bucket", "output", "checkpoint", "width", "height", "frames", "steps", "cfg", "fast", "detail")
TIERS = ("unit", "contract", "system", "browser", "soak")
# Other kernels and another order of sums than this processor would choose: what another machine rounds differently shows up here.
OTHER_ROUNDING = {
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "COMPATIBLE",
    "OPENBLAS_CORETYPE": "Haswell",
    "OMP_NUM_THREADS": "1",
}
TEST_PACKAGES = ("pytest", "pytest-timeout", "hypothesis", "diffusers", "accelerate", "tensorboard", "scikit-image", "playwright")
LINT_PACKAGES = ("ruff", "mypy")
TRAINING_PACKAGES = ("diffusers", "accelerate", "tensorboard", "scikit-image")  # of training and evaluation
TRAINING_MODULES = ("cinemo_core.training", "cinemo_core.evaluation", "tools.fast_schedule")


def demo(options, _):
    given = {f"--{name.replace('_', '-')}": value for name, value in vars(options).items() if name in DEMO_OPTIONS}
    arguments = [name if value is True else f"{name}={value}" for name, value in given.items() if value is not None and value is not False]
    return prepare(options).run_module("tools.demo", *arguments)


def serve(options, _):
    return prepare(options).run_module("tools.serve", "--port", str(options.port))


def test(options, pytest_arguments):
    tiers = [tier for tier in options.tier or TIERS if not (tier == "browser" and options.no_browser)]
    environment = prepare(options, TEST_PACKAGES, comfyui=tiers != ["unit"])
    variables = dict(OTHER_ROUNDING) if options.other_rounding else {}
    if "browser" in tiers and may_hold(pytest_arguments, ROOT / "tests" / "browser"):
        variables["CHROMIUM"] = obtain_browser(environment.python)
    chosen = [f"--tier={tier}" for tier in tiers] if tiers != list(TIERS) else []
    return environment.run("-m", "pytest", *chosen, *pytest_arguments, folder=ROOT, variables=variables)


def may_hold(pytest_arguments, folder):
    """Whether the tests that pytest is given, or all if it is given none, may be in a folder."""
    tests = ROOT / "tests"
    given = [ROOT / argument.split("::")[0] for argument in pytest_arguments]
    given = [path for path in given if path.exists() and path.is_relative_to(tests)]
    return not given or any(path.is_relative_to(folder) or folder.is_relative_to(path) for path in given)


def lint(options, _):
    from tools.lint import lint as check

    return check(prepare(options, LINT_PACKAGES, comfyui=False))


def bench(options, arguments):
    return prepare(options).run_module("tools.bench", *arguments)


def parity(options, arguments):
    return prepare(options).run_module("tools.parity", *arguments)


def evaluate(options, arguments):
    return prepare(options, TRAINING_PACKAGES).run_module("cinemo_core.evaluation.claims", *arguments)


def compat(options, checkouts):
    from tools.compat import try_checkouts

    return try_checkouts(checkouts, options.install)


def pictures(options, _):
    return prepare(options, TRAINING_PACKAGES).run_module("tools.pictures")


def py(options, arguments):
    environment = prepare(options, TRAINING_PACKAGES if any(a.startswith(TRAINING_MODULES) for a in arguments) else ())
    if arguments[:1] == ["-m"]:
        return environment.run_module(*arguments[1:])
    return environment.run(*arguments, with_path=True)


def setup(options, _):
    environment = prepare(options, (*TEST_PACKAGES, *LINT_PACKAGES))
    print(f"ready: {environment.python} runs {environment.comfyui}")
    return 0


def prepare(options, packages=(), comfyui=True):
    from tools.environment import prepare as prepare_environment

    return prepare_environment(packages, comfyui=comfyui, install=options.install)


def obtain_browser(python):
    from tools.browser import obtain_browser as obtain

    return obtain(python)


def whole_number(what, least, most, step=1):
    """Converts an argument to a number that the node takes for `what`."""
    expected = f"{least} to {most}{f', a multiple of {step}' if step > 1 else ''}"

    def convert(text):
        if not (text.isascii() and text.isdigit() and int(text) in range(least, most + 1, step)):
            raise argparse.ArgumentTypeError(f"{text} is not {what}; expected {expected}")
        return int(text)

    return convert


def guidance(text):
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{text} is not a strength of guidance; expected 0 to 100, 1 for none")
    return value


def absolute(text):
    return Path(text).expanduser().absolute()


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("--install", action="store_true", help="allow adding missing test packages to the Python of COMFYUI_PATH")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(function, text, passes_on=False):
        sub = commands.add_parser(function.__name__, help=text, description=text, add_help=not passes_on, allow_abbrev=False)
        sub.set_defaults(function=function, passes_on=passes_on)
        return sub

    sub = command(demo, "animate a picture with the real ComfyUI; an MP4 and a contact sheet")
    sub.add_argument("--image", type=absolute, help="the picture (default: ComfyUI's example.png)")
    sub.add_argument("--prompt", help="what should happen in it")
    bucket = whole_number("a motion bucket", 0, 19)
    sub.add_argument("--motion-bucket", type=bucket, metavar="N", help="0 least motion, 19 most")
    side = whole_number("a side of a clip in pixels", 16, 8192, 8)
    sub.add_argument("--width", type=side, metavar="N", help="of the clip in pixels (default: 512, nano 192)")
    sub.add_argument("--height", type=side, metavar="N", help="(default: 320, nano 192)")
    sub.add_argument("--frames", type=whole_number("a number of frames", 2, 1024), metavar="N", help="(default: 16)")
    sub.add_argument("--steps", type=whole_number("a number of steps", 1, 1000), metavar="N", help="(default: 50, with --fast 16)")
    sub.add_argument(
        "--cfg", type=guidance, metavar="X", help="how closely the prompt is followed (default: 7.5, nano 1); 1 takes half the time"
    )
    sub.add_argument(
        "--fast", action="store_true", help="16 steps of another sampler instead of 50: a third of the time, not quite as good"
    )
    sub.add_argument(
        "--detail",
        action="store_true",
        help="a clip as large as the picture, whose own detail follows the motion where that can be trusted",
    )
    sub.add_argument("--output", type=absolute, metavar="DIR", help="where the files go (default: output/ here)")
    sub.add_argument(
        "--checkpoint", type=absolute, metavar="DIR", help="a downloaded checkpoint (default: nano, which comes with the pack)"
    )
    sub = command(serve, "run ComfyUI in the browser with the pack in place")
    sub.add_argument("--port", type=int, default=8188)
    sub = command(test, "run the tests; other arguments go to pytest", passes_on=True)
    sub.add_argument("--tier", action="append", choices=TIERS, help="only this tier; may be given again for more")
    sub.add_argument("--no-browser", action="store_true", help="leave out the tests of the frontend, which need a browser")
    sub.add_argument("--other-rounding", action="store_true", help="round as another processor would")
    command(lint, "check style and types")
    command(bench, "measure speed and memory", passes_on=True)
    command(parity, "compare WEIGHTS with recorded CASES", passes_on=True)
    command(evaluate, "measure on a checkpoint what the paper claims: a table, a figure, a verdict", passes_on=True)
    command(compat, "run the smoke tests on the oldest ComfyUI that the pack claims, or on the checkouts that follow", passes_on=True)
    command(pictures, "make pictures of what nano does: a gallery, and what each control changes")
    command(py, "run the environment's Python with ComfyUI and this folder importable", passes_on=True)
    command(setup, "only set up what the other commands need")
    options, rest = parser.parse_known_args(arguments)
    if rest and not options.passes_on:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return options, rest


def main(arguments):
    if sys.version_info < (3, 10):  # noqa: UP036  # this sentence is for those who have an older one
        print(f"error: this is Python {sys.version.split()[0]}, expected 3.10 or newer: run dev.py with one of those.", file=sys.stderr)
        return 1
    sys.path.insert(0, str(ROOT))  # the Python inside portable ComfyUI does not add a script's folder
    from tools.console import DevError

    options, rest = parse(arguments)
    try:
        return options.function(options, rest)
    except DevError as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        print("error: the disk is full; free some space and run again.", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
