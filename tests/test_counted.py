from descant.counted import counted


def test_one_is_one_clip_and_every_other_number_is_clips():
    assert [counted(number, "clip") for number in (0, 1, 2)] == ["0 clips", "1 clip", "2 clips"]
    assert [counted(number, "family", "families") for number in (1, 3)] == ["1 family", "3 families"]
