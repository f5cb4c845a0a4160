"""The detail of a picture, carried through a clip that was made from it: optical flow, where to trust it, and what is added."""
