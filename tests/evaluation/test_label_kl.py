import math

import pytest
import torch

from descant.errors import InvalidRequest
from descant.evaluation.embedded_clips import EmbeddedClip, EmbeddedClips
from descant.evaluation.label_kl import label_kl, label_kl_of_each_clip


def labelled(**distributions):
    clips = tuple(
        EmbeddedClip(name, torch.zeros(1, 2), torch.tensor(rows, dtype=torch.float64))
        for name, rows in distributions.items()
    )
    return EmbeddedClips("some labeller", clips)


def test_the_divergence_is_that_of_the_reference_from_the_generated_clip():
    """audiocraft's ``kld``: torch's kl_div of the generated clip's log-probabilities and the reference's."""
    reference, generated = labelled(a=[[0.5, 0.4, 0.1]]), labelled(a=[[0.2, 0.3, 0.5]])
    [divergence] = label_kl_of_each_clip(reference, generated).values()
    theirs = torch.nn.functional.kl_div(
        torch.tensor([0.2, 0.3, 0.5]).add(1e-6).log(), torch.tensor([0.5, 0.4, 0.1]), reduction="sum"
    )
    assert divergence == pytest.approx(theirs.item(), rel=1e-5)
    [backwards] = label_kl_of_each_clip(generated, reference).values()
    assert abs(backwards - divergence) > 0.1


def test_equal_clips_diverge_by_nothing_and_a_label_that_is_ruled_out_costs_a_finite_amount():
    same = labelled(a=[[0.7, 0.3]])
    assert label_kl_of_each_clip(same, same)["a"] == pytest.approx(0, abs=3e-6)
    certain = label_kl_of_each_clip(labelled(a=[[1.0, 0.0]]), labelled(a=[[0.0, 1.0]]))["a"]
    assert certain == pytest.approx(-math.log(1e-6))


def test_clips_are_paired_by_name_and_windows_by_position():
    reference = labelled(a=[[0.9, 0.1], [0.5, 0.5]], b=[[0.2, 0.8], [0.2, 0.8]])
    generated = labelled(b=[[0.2, 0.8], [0.2, 0.8]], a=[[0.5, 0.5], [0.5, 0.5]])
    of_each = label_kl_of_each_clip(reference, generated)
    first = 0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5)
    assert of_each["a"] == pytest.approx(first / 2, abs=1e-5)
    assert of_each["b"] == pytest.approx(0, abs=1e-5)
    total = label_kl(reference, generated)
    assert total.value == pytest.approx(first / 4, abs=1e-5)
    assert (total.count, total.embedder) == (2, "some labeller")


def test_clips_without_a_partner_or_labels_and_of_other_lengths_are_refused():
    reference = labelled(a=[[0.5, 0.5]])
    with pytest.raises(InvalidRequest, match=r"first \['b'\]"):
        label_kl(reference, labelled(a=[[0.5, 0.5]], b=[[0.5, 0.5]]))
    with pytest.raises(InvalidRequest, match="a: its reference has 1 windows and it has 2"):
        label_kl(reference, labelled(a=[[0.5, 0.5], [0.5, 0.5]]))
    without = EmbeddedClips("some labeller", (EmbeddedClip("a", torch.zeros(1, 2), None),))
    with pytest.raises(InvalidRequest, match="without labels"):
        label_kl(without, without)
    with pytest.raises(InvalidRequest, match="do not compare"):
        label_kl(reference, EmbeddedClips("another", reference.clips))
