"""The text encoder of CLIP (arXiv 2103.00020), whose last hidden state conditions Stable Diffusion 1.x and Cinemo."""
