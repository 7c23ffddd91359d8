import pytest
import torch

from descant.codec.metrics import si_sdr_db


def test_si_sdr_ignores_the_volume_and_has_no_value_for_silence():
    reference = torch.tensor([[[1.0, -1.0, 1.0, -1.0]], [[0.0, 0.0, 0.0, 0.0]]])
    noise = torch.tensor([[[0.1, 0.1, -0.1, -0.1]]])
    ratios = si_sdr_db(reference, 0.5 * (reference + noise))
    assert ratios[0] == pytest.approx(20, abs=1e-3)
    assert ratios[1].isnan()
