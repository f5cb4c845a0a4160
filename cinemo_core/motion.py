"""The motion control: a bucket that people set, and the motion id that the network is conditioned on (paper sec. 3.2).

The paper projects the mean SSIM between consecutive frames onto buckets 0..19 and moves more with a larger bucket. It
publishes neither the range nor the ids that the released network takes, so the direction used here is inferred, from:
the authors' demo, whose slider 1..20 sends 100 - slider (ids 99..80) to the network; and the paper's definition, by
which still clips score an SSIM near 1. Both agree with id = round(100 * SSIM): id 99 is the least motion, bucket 0.
The authors' sample configurations contradict each other and were given no weight.
"""

from .errors import InputError

BUCKETS = 20
LEAST_MOTION_ID = 99


def motion_id(bucket: int) -> int:
    """Network id of a motion bucket: 0 (least motion) -> 99, 19 (most) -> 80. The direction is inferred, see the module.

    Raises InputError for anything but a whole number in 0..19.
    """
    if isinstance(bucket, bool) or not isinstance(bucket, int) or not 0 <= bucket < BUCKETS:
        raise InputError(f"The motion bucket is {bucket!r}; choose a whole number from 0 (least motion) to {BUCKETS - 1} (most).")
    return LEAST_MOTION_ID - bucket


def bucket_of_motion_id(network_id: float) -> int:
    """Motion bucket nearest to a network id, the inverse of `motion_id`; ids outside 80..99 give the bucket at that end."""
    return min(max(round(LEAST_MOTION_ID - network_id), 0), BUCKETS - 1)
