"""The options of ComfyUI on a computer without a GPU, for a server and for programs that import it."""

# Its own choice of attention for a CPU takes twice the memory and a third more time than PyTorch's, at 512x320 and 16 frames.
OPTIONS = {"cpu": True, "use_pytorch_cross_attention": True}


def command_line() -> list[str]:
    return [f"--{name.replace('_', '-')}" for name in OPTIONS]


def choose_cpu() -> None:
    """Has to come before any import of ComfyUI that chooses a device or an attention."""
    from comfy.cli_args import args

    vars(args).update(OPTIONS)
