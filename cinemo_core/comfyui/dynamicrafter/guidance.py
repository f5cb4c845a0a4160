"""Guidance as the authors do it: rescaled on the network's output over the whole clip, and by text and image apart (paper sec. 3.3)."""

from dataclasses import dataclass

import comfy.samplers
import torch

from ...errors import InputError
from ...models.dynamicrafter.guidance import guide_text_and_image, rescale
from ..description import check_model
from .conditioning import attach_image, image_of
from .model import DynamiCrafterSupported
from .model_sampling import rescaled_sampling

SAME = -1.0  # for a scale: that of the text; for the rescale: that of the variant


@dataclass(frozen=True)
class Guidance:
    """text: how strictly the prompt is followed. image: how strictly the image is, SAME for one scale for both.

    rescale: how much of the spread of the guided output is brought back to that of the conditional one, SAME for what the model has: that
    of `with_rescale`, or the variant's own.
    """

    text: float = 7.5
    image: float = SAME
    rescale: float = SAME

    def check(self) -> None:
        """Raise InputError for a number out of range."""
        if self.text < 0 or (self.image < 0 and self.image != SAME):
            raise InputError(
                f"The guidance scales are {self.text} (text) and {self.image} (image); choose 0 or more, or {SAME:g} for one scale."
            )
        check_rescale(self.rescale)


def check_rescale(factor: float) -> None:
    if factor != SAME and not 0 <= factor <= 1:
        raise InputError(f"The guidance rescale is {factor}; choose 0 to 1, or {SAME:g} for the model's own.")


class RescaleToConditional:
    """A `sampler_post_cfg_function`: the guided output with the spread of the conditional one, over all frames together.

    The denoised clip is `denoised_of_zero` less a multiple of the network's output, so their spreads have the same ratio.
    """

    def __init__(self, factor: float):
        self.factor = factor

    def __call__(self, args: dict) -> torch.Tensor:
        if not self.factor:
            return args["denoised"]
        zero = rescaled_sampling(args["model"].model_sampling).denoised_of_zero(args["sigma"], args["input"])
        return zero - rescale(zero - args["denoised"], zero - args["cond_denoised"], self.factor)


def functions_of(model) -> list:
    return model.model_options.get("sampler_post_cfg_function", [])


def with_rescale(model, factor: float):
    """A clone of a MODEL whose guidance is rescaled in every sampler, first of what is done to it; an earlier rescale is replaced.

    factor: 0 (not at all) to 1, SAME for the variant's own. Raises InputError for another number, and for another family's model.
    """
    check_model(model, DynamiCrafterSupported)
    check_rescale(factor)
    factor = model.get_model_object("variant").rescale if factor == SAME else factor
    model = model.clone()
    others = [function for function in functions_of(model) if not isinstance(function, RescaleToConditional)]
    model.model_options["sampler_post_cfg_function"] = [RescaleToConditional(factor), *others]
    return model


class DynamiCrafterGuider(comfy.samplers.CFGGuider):
    """CFG with the authors' rescale; with three evaluations where text and image have scales of their own."""

    def set_guidance(self, guidance: Guidance) -> None:
        self.guidance = guidance
        self.set_cfg(guidance.text)
        if guidance.rescale != SAME or not any(isinstance(function, RescaleToConditional) for function in functions_of(self.model_patcher)):
            self.model_options = with_rescale(self.model_patcher, guidance.rescale).model_options

    def set_conds(self, positive, negative) -> None:
        conds = {"positive": positive, "negative": negative}
        if self.guidance.image != SAME:  # the negative's text with the positive's image
            (conds["image"],) = attach_image(image_of(positive, "positive"), negative)
        self.inner_set_conds(conds)

    def predict_noise(self, x, timestep, model_options={}, seed=None):
        if "image" not in self.conds:
            return super().predict_noise(x, timestep, model_options, seed)
        conds = [self.conds[name] for name in ("positive", "negative", "image")]
        cond, uncond, image = comfy.samplers.calc_cond_batch(self.inner_model, conds, x, timestep, model_options)
        denoised = guide_text_and_image(uncond, image, cond, self.guidance.text, self.guidance.image)
        for function in model_options.get("sampler_post_cfg_function", []):
            denoised = function(
                {
                    "denoised": denoised,
                    "cond": conds[0],
                    "uncond": conds[1],
                    "cond_scale": self.guidance.text,
                    "model": self.inner_model,
                    "uncond_denoised": uncond,
                    "cond_denoised": cond,
                    "sigma": timestep,
                    "model_options": model_options,
                    "input": x,
                }
            )
        return denoised


def make_guider(model, positive: list, negative: list, guidance: Guidance) -> DynamiCrafterGuider:
    """A GUIDER. Raises InputError for another family's model and numbers out of range, ConditioningError for conditioning without image."""
    check_model(model, DynamiCrafterSupported)
    guidance.check()
    for conditioning, name in ((positive, "positive"), (negative, "negative")):
        image_of(conditioning, name)
    guider = DynamiCrafterGuider(model)
    guider.set_guidance(guidance)
    guider.set_conds(positive, negative)
    return guider
