"""The compiled passes of Griffin-Lim give what PyTorch's operations give."""

import pytest
import torch

from descant.codec import phase_code
from descant.codec.phase_code import add_windows, aim, cut_windows


def of_both_kinds(function, *arguments, result):
    """What the compiled function writes, and what PyTorch's operations write in float64."""
    expected = result.to(torch.complex128 if result.is_complex() else torch.float64)
    doubled = [
        part.to(torch.complex128 if part.is_complex() else torch.float64) if isinstance(part, torch.Tensor) else part
        for part in arguments
    ]
    function(*arguments, result)
    function(*doubled, expected)
    return result, expected.to(result.dtype)


@pytest.mark.parametrize(("spectra", "bins"), [(1, 1), (3, 17), (2, 32), (4, 1_025)])
@pytest.mark.parametrize("loudness", [1e-6, 1.0, 1e6])
def test_spectra_get_their_magnitudes(spectra, bins, loudness):
    found, before = loudness * torch.randn(2, spectra, bins, dtype=torch.complex64)
    targets = torch.rand(spectra, bins)
    aimed, expected = of_both_kinds(aim, found, before, targets, result=torch.zeros_like(found))
    torch.testing.assert_close(aimed, expected, rtol=2e-5, atol=2e-5)
    torch.testing.assert_close(aimed.abs(), targets, rtol=1e-6, atol=0)


def test_silence_has_no_direction():
    nothing = torch.zeros(2, 33, dtype=torch.complex64)
    aimed, _ = of_both_kinds(aim, nothing, nothing, torch.ones(2, 33), result=nothing.clone())
    assert not aimed.any()


@pytest.mark.parametrize(("length", "hop"), [(6, 2), (32, 10), (64, 32), (2_048, 640)])
@pytest.mark.parametrize("number", [0, 1, 5])
def test_windows_are_added_and_cut(length, hop, number):
    windows, window = torch.randn(number, length), torch.rand(length)
    sums, expected = of_both_kinds(add_windows, windows, window, result=torch.randn(number - (-length // hop), hop))
    torch.testing.assert_close(sums, expected, rtol=0, atol=2e-6)
    if number:
        samples = sums.flatten()[: (number - 1) * hop + length]
        cut, expected = of_both_kinds(cut_windows, samples, window, hop, result=torch.zeros_like(windows))
        torch.testing.assert_close(cut, expected, rtol=0, atol=1e-6)


def test_other_processors_use_pytorch(monkeypatch):
    monkeypatch.setattr(phase_code, "is_supported", lambda: False)
    monkeypatch.setattr(phase_code, "_functions", lambda: pytest.fail("compiled"))
    result = torch.zeros(1, 3, dtype=torch.complex64)
    aim(torch.ones_like(result), torch.zeros_like(result), torch.full((1, 3), 2.0), result)
    torch.testing.assert_close(result, torch.full_like(result, 2.0))
