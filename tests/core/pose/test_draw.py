"""Drawings in the field's colours and order."""

import numpy as np
from cinemo_pack.cinemo_core.pose.draw import DIMMED, LIMBS, draw_figure, hue
from cinemo_pack.cinemo_core.pose.figure import BODY, LEFT_WRIST, NECK, NOSE, RIGHT_WRIST, fitted
from cinemo_pack.tests.core.pose.people import STANDING, figure

# OpenPose's, as its users write them down: colours of joints and limbs, and the ends of limbs counted from 1.
COLOURS = [(255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0), (0, 255, 85), (0, 255, 170)]
COLOURS += [(0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255), (170, 0, 255), (255, 0, 255), (255, 0, 170)]
COLOURS += [(255, 0, 85)]
LIMB_SEQUENCE = [(2, 3), (2, 6), (3, 4), (4, 5), (6, 7), (7, 8), (2, 9), (9, 10), (10, 11), (2, 12), (12, 13), (13, 14)]
LIMB_SEQUENCE += [(2, 1), (1, 15), (15, 17), (1, 16), (16, 18)]


def test_colours_and_order_are_openposes():
    assert [hue(i, BODY) for i in range(BODY)] == COLOURS
    assert [(first + 1, second + 1) for first, second in LIMBS] == LIMB_SEQUENCE


def test_joints_are_bright_over_dimmed_limbs_on_black():
    picture = draw_figure(fitted(figure(), 512, 768))
    assert picture.shape == (768, 512, 3) and picture.dtype == np.uint8
    at = (np.array(STANDING) * 2.56).round().astype(int)
    for joint in (NOSE, NECK, RIGHT_WRIST, LEFT_WRIST):
        assert tuple(picture[at[joint, 1], at[joint, 0]]) == COLOURS[joint]
    for limb in (LIMBS.index((8, 9)), LIMBS.index((1, 5))):
        across, down = at[list(LIMBS[limb])].mean(axis=0).round().astype(int)
        assert np.abs(picture[down, across].astype(int) - np.array(COLOURS[limb]) * DIMMED).max() <= 1
    assert not picture[:40].any() and not picture[-40:].any()


def test_hands_and_face_are_drawn_only_if_wanted():
    whole = figure(hand=True)
    whole.face[:, :] = (100, 20, 1)
    both, bare = draw_figure(whole), draw_figure(whole, hands=False, face=False)
    assert tuple(both[20, 100]) == (255, 255, 255) and not bare[20, 100].any()
    assert tuple(both[155, 60]) == (0, 0, 255) and not bare[155, 60].any()
