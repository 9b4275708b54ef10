import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import numeric_gates as gates
from tests.loss_gates import LOSS_GATES


def logits_of(probabilities: list[list[float]]) -> np.ndarray:
    return np.log(np.array(probabilities))


def test_nmse_is_the_error_over_the_power_of_the_reference() -> None:
    assert gates.nmse([3.0, 4.0], [3.0, 5.0]) == pytest.approx(1 / 34)
    assert gates.nmse([0.0, 0.0], [3.0, 4.0]) == 1.0
    assert gates.nmse([1.0, 2.0], [1.0, 2.0]) == 0.0


def test_nmse_against_zeros_is_zero_or_infinite() -> None:
    assert gates.nmse([0.0], [0.0]) == 0.0
    assert gates.nmse([1e-30], [0.0]) == np.inf


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_breaks_every_limit(bad: float) -> None:
    reference = np.random.default_rng(1).normal(size=(4, 50))
    actual = reference.copy()
    actual[2, 7] = bad
    assert gates.nmse(actual, reference) == np.inf
    found = gates.BF16.measure(actual, reference)
    assert found.logits_error == np.inf
    assert found.mean_kld == np.inf
    assert len(gates.BF16.violations(found)) >= 3


def test_logits_error_counts_in_deviations_of_each_position() -> None:
    reference = np.array([[-1.0, 1.0, -1.0, 1.0], [-100.0, 100.0, -100.0, 100.0]])
    actual = reference + np.array([[0.0, 0.0, 0.5, 0.0], [0.0, -20.0, 0.0, 10.0]])
    assert gates.logits_error(actual, reference) == pytest.approx(0.5)


def test_logits_error_of_a_constant_reference_is_refused() -> None:
    with pytest.raises(ValueError, match="constant"):
        gates.logits_error(np.ones((1, 3)), np.ones((1, 3)))


def test_kl_divergence_of_two_coins_is_the_textbook_value() -> None:
    reference = logits_of([[0.5, 0.5], [0.9, 0.1]])
    actual = logits_of([[0.75, 0.25], [0.9, 0.1]])
    expected = 0.5 * np.log(0.5 / 0.75) + 0.5 * np.log(0.5 / 0.25)
    assert gates.kl_divergence(actual, reference) == pytest.approx([expected, 0.0], abs=1e-15)


def test_kl_divergence_is_not_symmetric_and_weighs_by_the_reference() -> None:
    first, second = logits_of([[0.99, 0.01]]), logits_of([[0.5, 0.5]])
    forward = 0.99 * np.log(0.99 / 0.5) + 0.01 * np.log(0.01 / 0.5)
    assert gates.kl_divergence(second, first)[0] == pytest.approx(forward)
    assert gates.kl_divergence(first, second)[0] != pytest.approx(forward, rel=0.1)


def test_kl_divergence_ignores_a_shift_of_all_logits() -> None:
    reference = np.random.default_rng(2).normal(size=(3, 1000)) * 5
    assert np.max(gates.kl_divergence(reference + 700.0, reference)) < 1e-14


def test_kl_divergence_resolves_far_below_the_tightest_gate() -> None:
    # KL(p || q) of a small step d is d^2/2 times the variance of d under p, to first order.
    generator = np.random.default_rng(3)
    reference, step = generator.normal(size=(1, 49152)) * 3, generator.normal(size=(1, 49152))
    probability = np.exp(gates.log_softmax(reference))
    mean = np.sum(probability * step)
    variance = np.sum(probability * (step - mean) ** 2)
    found = gates.kl_divergence(reference + 1e-5 * step, reference)[0]
    assert found == pytest.approx(0.5e-10 * variance, rel=1e-3)


@given(st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=20))
def test_log_softmax_sums_to_one_and_survives_large_logits(values: list[float]) -> None:
    assert np.sum(np.exp(gates.log_softmax(values))) == pytest.approx(1.0, abs=1e-12)


def test_top1_agreement_skips_near_ties_of_the_reference() -> None:
    reference = np.array([[1.0, 0.0, 0.0], [1.0, 0.99, 0.0], [0.0, 0.0, 3.0], [0.0, 2.0, 0.0]])
    actual = np.array([[1.0, 0.0, 0.0], [0.98, 0.99, 0.0], [0.0, 0.0, 3.0], [9.0, 2.0, 0.0]])
    assert gates.top_gaps(reference) == pytest.approx([1.0, 0.01, 3.0, 2.0])
    assert gates.top1_agreement(actual, reference, 0.0) == (0.5, 4)
    assert gates.top1_agreement(actual, reference, 0.05) == (2 / 3, 3)


def test_top1_agreement_over_near_ties_alone_is_refused() -> None:
    with pytest.raises(ValueError, match="near-tie"):
        gates.top1_agreement([[1.0, 0.99, 0.0]], [[1.0, 0.99, 0.0]], 0.05)


def test_perplexity_of_a_uniform_model_is_its_vocabulary() -> None:
    assert gates.perplexity(np.zeros((5, 17)), [1, 2, 3, 4, 5]) == pytest.approx(17.0)


def test_perplexity_reads_row_i_as_the_prediction_of_token_i_plus_1() -> None:
    logits = logits_of([[0.25, 0.75], [0.5, 0.5], [1e-9, 1 - 1e-9]])
    assert gates.perplexity(logits, [0, 1, 0]) == pytest.approx((0.75 * 0.5) ** -0.5)


def test_greedy_text_may_leave_its_reference_only_at_a_near_tie() -> None:
    reference, gaps = [5, 6, 7, 8], [1.0, 0.01, 2.0, 3.0]
    assert gates.first_divergence([5, 6, 7, 8], reference, gaps, 0.05) is None
    assert gates.first_divergence([5, 9, 9, 9], reference, gaps, 0.05) is None
    assert gates.first_divergence([5, 9, 9, 9], reference, gaps, 1e-3) == 1
    assert gates.first_divergence([5, 6, 9, 8], reference, gaps, 0.05) == 2
    assert gates.first_divergence([5, 6], reference, gaps, 0.05) == 2


def test_shapes_that_differ_are_refused_instead_of_broadcast() -> None:
    with pytest.raises(ValueError, match="shape"):
        gates.nmse(np.zeros((2, 3)), np.zeros((1, 3)))
    with pytest.raises(ValueError, match="shape"):
        gates.kl_divergence(np.zeros(3), np.zeros(3))


@pytest.mark.parametrize("gate", gates.GATES.values(), ids=lambda gate: gate.name)
def test_a_gate_passes_the_reference_itself_and_fails_noise_beyond_its_limit(
    gate: gates.Gate,
) -> None:
    generator = np.random.default_rng(4)
    reference = generator.normal(size=(50, 2000)) * 3
    assert gate.violations(gate.measure(reference, reference)) == []
    noise = generator.normal(size=reference.shape)
    noisy = reference + noise * 3 * gate.logits_error
    assert any("logits error" in line for line in gate.violations(gate.measure(noisy, reference)))


def test_joined_texts_measure_like_one_long_text() -> None:
    generator = np.random.default_rng(5)
    reference = generator.normal(size=(30, 400))
    actual = reference + generator.normal(size=reference.shape) * 0.01
    pieces = (slice(0, 7), slice(7, 8), slice(8, 30))
    joined = gates.join([gates.compare(actual[piece], reference[piece]) for piece in pieces])
    assert gates.FP16.summarize(joined) == gates.FP16.measure(actual, reference)


def test_a_gate_names_the_figure_the_limit_and_the_class() -> None:
    found = gates.Measurement(10, 1e-3, 1e-9, 1e-9, 1.0, 10)
    assert gates.FP32.violations(found) == ["logits error is 0.001, fp32 allows 0.0001"]


def test_gates_loosen_in_the_order_of_their_arithmetic() -> None:
    fp32, fp16, bf16 = gates.FP32, gates.FP16, gates.BF16
    for tight, loose in ((fp32, fp16), (fp16, bf16)):
        assert tight.operator_nmse < loose.operator_nmse
        assert tight.logits_error < loose.logits_error
        assert tight.mean_kld < loose.mean_kld < loose.kld_999
        assert tight.top1 > loose.top1


@pytest.mark.parametrize(
    ("arithmetic", "kv_dtype", "wanted"),
    [
        ("f32", "float32", "fp32"),
        ("f32", "float16", "fp16"),
        ("f16", "float16", "fp16"),
        ("int8", "float16", "int8"),
    ],
)
def test_the_gate_follows_the_coarsest_arithmetic(
    arithmetic: str, kv_dtype: str, wanted: str
) -> None:
    assert gates.gate_of(arithmetic, kv_dtype).name == wanted


def test_a_loss_gate_lists_each_broken_limit() -> None:
    gate = LOSS_GATES["q4f16"]
    assert gate.violations(1.04, 0.05, 0.91) == []
    assert len(gate.violations(1.06, 0.07, 0.89)) == 3
    assert len(gate.violations(np.nan, np.nan, np.nan)) == 3
