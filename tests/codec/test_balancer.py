import pytest
import torch

from descant.codec.balancer import Balancer
from descant.errors import ConfigError, InvalidRequest


def losses_of(wave: torch.Tensor) -> dict[str, torch.Tensor]:
    """Two losses whose gradients are orthogonal and differ in size a thousandfold."""
    return {"loud": 1_000 * wave[..., :4].sum(), "quiet": wave[..., 4:].sum()}


def test_each_loss_pulls_as_its_weight_says_whatever_its_size():
    wave = torch.randn(3, 1, 8, requires_grad=True)
    Balancer({"loud": 1.0, "quiet": 3.0}, total_norm=2.0)(losses_of(wave), wave).backward()
    rows = wave.grad.squeeze(1)
    torch.testing.assert_close(rows[:, :4].norm(dim=1), torch.full((3,), 2.0 * 1 / 4))
    torch.testing.assert_close(rows[:, 4:].norm(dim=1), torch.full((3,), 2.0 * 3 / 4))


def test_the_balanced_gradient_goes_on_to_what_made_the_wave():
    gain = torch.ones(1, requires_grad=True)
    wave = gain * torch.ones(1, 1, 8)
    Balancer({"loud": 1.0, "quiet": 1.0})(losses_of(wave), wave).backward()
    # Both gradients are flat over four samples each, of norm 1/2: 8 samples of 1/4 reach the gain.
    torch.testing.assert_close(gain.grad, torch.tensor([2.0]))


def test_what_a_loss_passes_through_gets_no_gradient():
    discriminator = torch.nn.Linear(8, 1)
    wave = torch.randn(2, 1, 8, requires_grad=True)
    Balancer({"adversarial": 1.0})({"adversarial": discriminator(wave).mean()}, wave).backward()
    assert discriminator.weight.grad is None
    assert wave.grad.any()


def test_the_value_is_the_sum_of_the_scaled_losses():
    wave = torch.ones(1, 1, 8, requires_grad=True)
    balancer = Balancer({"loud": 1.0, "quiet": 1.0})
    # Norms are 2000 and 2, values 4000 and 4: each counts 4000 * 0.5 / 2000 = 1.
    assert balancer(losses_of(wave), wave).item() == pytest.approx(2.0)


def test_norms_are_unbiased_running_means():
    balancer = Balancer({"only": 1.0}, decay=0.5)
    for size, mean in [(1.0, 1.0), (4.0, (0.5 * 1 + 4) / 1.5), (2.0, (0.25 * 1 + 0.5 * 4 + 2) / 1.75)]:
        wave = torch.zeros(1, 1, 1, requires_grad=True)
        balancer({"only": size * wave.sum()}, wave).backward()
        assert wave.grad.item() == pytest.approx(size / mean)


def test_a_loss_may_be_absent_and_the_others_share_its_weight():
    wave = torch.zeros(1, 1, 4, requires_grad=True)
    balancer = Balancer({"a": 1.0, "b": 9.0})
    balancer({"a": wave.sum()}, wave).backward()
    assert wave.grad.norm().item() == pytest.approx(1.0)
    assert balancer.norm_counts.tolist() == [1, 0]


def test_a_restored_balancer_goes_on_as_if_never_stopped():
    """Its running means were once left out of checkpoints, so losses jumped after every resume (audiocraft)."""
    balancer = Balancer({"loud": 1.0, "quiet": 2.0})
    wave = torch.randn(2, 1, 8, requires_grad=True)
    for _ in range(3):
        balancer(losses_of(wave**2), wave)
    restored = Balancer({"quiet": 2.0, "loud": 1.0})
    restored.load_state_dict(balancer.state_dict())
    gradients = []
    for one in (balancer, restored):
        fresh = torch.arange(8.0).reshape(1, 1, 8).requires_grad_()
        one(losses_of(fresh**2), fresh).backward()
        gradients.append(fresh.grad)
    assert torch.equal(*gradients)


def test_a_balancer_in_evaluation_does_not_learn():
    balancer = Balancer({"loud": 1.0, "quiet": 1.0})
    wave = torch.randn(1, 1, 8, requires_grad=True)
    balancer(losses_of(wave), wave)
    before = balancer.norm_sums.clone()
    balancer.eval()(losses_of(3 * wave), wave)
    assert torch.equal(balancer.norm_sums, before)


def test_a_loss_without_gradient_is_no_division_by_zero():
    wave = torch.zeros(1, 1, 4, requires_grad=True)
    Balancer({"a": 1.0})({"a": (wave**2).sum()}, wave).backward()
    assert wave.grad.isfinite().all()


def test_unknown_losses_and_weights_that_push_away_are_refused():
    wave = torch.zeros(1, 1, 4, requires_grad=True)
    with pytest.raises(InvalidRequest, match="all of a"):
        Balancer({"a": 1.0})({"b": wave.sum()}, wave)
    with pytest.raises(ConfigError, match="all above zero"):
        Balancer({"a": 1.0, "b": 0.0})
    with pytest.raises(ConfigError, match="decay=1"):
        Balancer({"a": 1.0}, decay=1.0)
