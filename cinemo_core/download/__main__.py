"""Downloads a published checkpoint into ComfyUI, checks it, and writes its network as one safetensors file of half the size.

    python -m cinemo_core.download [MODEL] [--dest DIR] [--endpoint URL] [--dtype fp16|bf16|fp32|keep] [--keep-original]

MODEL is cinemo; or one of the DynamiCrafter models, a single file with all of its parts, for research and non-commercial use; or
tooncrafter, such a file too; or a set of Animate Anyone, four files that become one.

Run it in the folder of this pack, with ComfyUI's Python. An interrupted run continues where it stopped; a second run does
nothing. Every file is compared with the checksum that the hub lists for it: SHA-256 for the weights, the git blob id for the
small files. The list comes from the same address as the files, so this finds damage, not a dishonest mirror.
"""

import argparse
import signal
import sys
from importlib.util import find_spec
from pathlib import Path

from ..errors import CinemoError, InputError
from ..models.published import COMMAND

NEEDED = ("torch", "huggingface_hub")  # both are in every ComfyUI's Python


def main(arguments: list[str] | None = None) -> int:
    try:
        check_python()
        return run(arguments)
    except CinemoError as error:
        print(f"download: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndownload: stopped; run the same command again to continue.", file=sys.stderr)
        return 130


def check_python() -> None:
    """Raise InputError for a Python that is not ComfyUI's."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise InputError(f"This Python ({sys.executable}) has no {' and no '.join(missing)}; run the command with the Python of ComfyUI.")


def run(arguments: list[str] | None) -> int:
    from ..convert import TARGET_DTYPES
    from ..models.families import FAMILIES
    from .destination import CHECKPOINTS, default_destination
    from .file_set import SetRequest, install_set
    from .install import Request, install
    from .single import FileRequest, install_file

    folders = {family.name.lower(): family.published for family in FAMILIES if family.published}
    files = {file.name: (file, family) for family in FAMILIES for file in family.files}
    sets = {published.name: (published, family) for family in FAMILIES for published in family.sets}
    places = " or ".join(sorted({f"models/{published.models}" for published, _ in sets.values()}))
    default = next(iter(folders))
    parser = argparse.ArgumentParser(
        prog=COMMAND, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "model",
        nargs="?",
        choices=[*folders, *files, *sets],
        default=default,
        metavar="MODEL",
        help=f"{', '.join((*folders, *files, *sets))} (default: %(default)s)",
    )
    parser.add_argument(
        "--dest",
        type=Path,
        metavar="DIR",
        help=f"where it goes (default: of ComfyUI models/diffusers, for a file models/checkpoints, for a set {places})",
    )
    parser.add_argument("--name", help="name of its folder or file there (default: that of the model, which the workflows choose)")
    parser.add_argument("--endpoint", metavar="URL", help="a mirror of the hub (default: HF_ENDPOINT, else https://huggingface.co)")
    parser.add_argument(
        "--dtype",
        choices=TARGET_DTYPES,
        default="fp16",
        help="type of the converted weights on disk (default: %(default)s); the README says what suits a computer without a GPU",
    )
    parser.add_argument("--keep-original", action="store_true", help="keep what is converted as published too, next to the result")
    parser.add_argument("--image-vae", action="store_true", help="cinemo: also fetch vae/, which decodes frame by frame")
    args = parser.parse_args(arguments)
    own = {**{model: published.folder for model, published in folders.items()}, **{model: s.folder for model, (s, _) in sets.items()}}
    name = args.name if args.name is not None else own.get(args.model, args.model)
    if Path(name).name != name or name in ("", "..") or name.startswith("."):
        raise InputError(f"{name} is not a name for a folder or file; give one word, such as {folders[default].folder}.")

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that no temporary file of the conversion stays
    if args.model in folders:
        folder = (args.dest or default_destination()).expanduser().absolute() / name
        install(Request(folders[args.model], folder, args.endpoint, args.dtype, args.keep_original, args.image_vae), print)
        print(f"Next: press R in ComfyUI, open a Cinemo template, and choose {name} in Cinemo Bundle Loader.")
        return 0
    if args.image_vae:
        raise InputError(
            f"--image-vae is for {default} alone; {args.model} has {'none' if args.model in sets else 'an image VAE in its file'}."
        )
    if args.model in sets:
        published, family = sets[args.model]
        folder = (args.dest or default_destination(models=Path("models", published.models))).expanduser().absolute() / name
        install_set(SetRequest(published, folder, args.endpoint, args.dtype, args.keep_original), print)
        print(f"Next: press R in ComfyUI, and choose {name} in Cinemo {family.name} Loader.")
        return 0
    file, family = files[args.model]
    folder = (args.dest or default_destination(models=CHECKPOINTS)).expanduser().absolute()
    target = folder / f"{name.removesuffix('.safetensors')}.safetensors"
    install_file(FileRequest(file, target, args.endpoint, args.dtype, args.keep_original), print)
    print(f"Next: press R in ComfyUI, and choose {target.name} in Cinemo {family.name} Loader.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
