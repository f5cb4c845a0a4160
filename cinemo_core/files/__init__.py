"""Files that people have: checkpoints, folders of them, texts. Pure; a file that cannot be read is one sentence."""
