"""What the families that grew out of Stable Diffusion's UNet share: its blocks under LDM names, and ComfyUI's patches.

Frames are folded into the batch. Axes: b clips, f frames, c channels, h w, l tokens, d channels of a token.
"""
