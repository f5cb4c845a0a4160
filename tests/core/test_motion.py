"""Motion buckets and network ids."""

import pytest
from cinemo_pack.cinemo_core.errors import InputError
from cinemo_pack.cinemo_core.motion import BUCKETS, bucket_of_motion_id, motion_id


def test_twenty_buckets_map_onto_the_ids_of_the_demo():
    assert [motion_id(bucket) for bucket in range(BUCKETS)] == list(range(99, 79, -1))


def test_inverse_is_exact_inside_and_clamped_outside():
    assert [bucket_of_motion_id(motion_id(bucket)) for bucket in range(BUCKETS)] == list(range(BUCKETS))
    assert bucket_of_motion_id(100) == bucket_of_motion_id(99) == 0
    assert bucket_of_motion_id(8) == bucket_of_motion_id(80) == BUCKETS - 1
    assert bucket_of_motion_id(92.4) == 7


@pytest.mark.parametrize("bucket", [-1, 20, 3.0, True, None, "3"])
def test_bad_bucket(bucket):
    with pytest.raises(InputError, match=r"0 .* to 19"):
        motion_id(bucket)
