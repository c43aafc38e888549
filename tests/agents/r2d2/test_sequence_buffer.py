"""The sequence buffer: by hand, and against plain lists under random operations."""

from __future__ import annotations

import pathlib
import pickle

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from mbrl_agents.r2d2 import SequenceLayout, SequenceReplayBuffer
from tests.agents.r2d2.streams import CUT, GO_ON, NUM_ACTIONS, TERMINATE, TRUNCATE, Streams

LAYOUT = SequenceLayout(burn_in=2, length=3, overlap=0, n_steps=2)  # windows of 7 observations at every third step


def one_env(*happens: int, capacity: int = 40, layout: SequenceLayout = LAYOUT) -> Streams:
    streams = Streams(layout, 1, capacity)
    for what in happens:
        streams.step(what)
    return streams


def observations(streams: Streams) -> list[list[float]]:
    return sorted(sequence["observations"] for sequence in streams.stored())


# --- By hand ----------------------------------------------------------------------------------------------------------------


def test_an_unfinished_episode_gives_only_whole_sequences() -> None:
    assert observations(one_env(*[GO_ON] * 6)) == []
    assert observations(one_env(*[GO_ON] * 7)) == [[0, 1, 2, 3, 4, 5, 6]]
    assert observations(one_env(*[GO_ON] * 10)) == [[0, 1, 2, 3, 4, 5, 6], [3, 4, 5, 6, 7, 8, 9]]


def test_the_end_of_an_episode_completes_its_last_sequences() -> None:
    streams = one_env(*[GO_ON] * 9, TERMINATE)
    whole, second, third = sorted(streams.stored(), key=lambda sequence: sequence["observations"])
    assert whole["observations"] == [0, 1, 2, 3, 4, 5, 6]
    assert whole["trained"] == [1, 1, 1, 1, 1]  # from the start of the episode there is no burn-in
    assert second["observations"] == [3, 4, 5, 6, 7, 8, 9]
    assert (second["trained"], second["terminated"]) == ([0, 0, 1, 1, 1], False)
    assert second["state"] == 3.5
    assert third["observations"] == [6, 7, 8, 9, 10]  # 10 is terminal
    assert (third["trained"], third["last"], third["terminated"]) == ([0, 0, 1, 1, 0], 4, True)


def test_every_step_is_trained_on_once_without_overlap() -> None:
    for length in range(1, 25):
        streams = one_env(*[GO_ON] * (length - 1), TERMINATE)
        trained = [sequence["observations"][t] for sequence in streams.stored() for t in range(5) if sequence["trained"][t]]
        assert sorted(trained) == list(range(length))


def test_an_episode_shorter_than_the_burn_in_is_trained_on() -> None:
    (sequence,) = one_env(TRUNCATE).stored()
    assert sequence["observations"] == [0, 1]
    assert (sequence["trained"], sequence["terminated"]) == ([1, 0, 0, 0, 0], False)


def test_sequences_never_cross_an_end() -> None:
    streams = one_env(GO_ON, TERMINATE, GO_ON, GO_ON, TRUNCATE)
    assert observations(streams) == [[0, 1, 2], [3, 4, 5, 6]]
    first, second = sorted(streams.stored(), key=lambda sequence: sequence["observations"])
    assert first["previous_actions"][0] == second["previous_actions"][0] == NUM_ACTIONS
    assert first["previous_rewards"][0] == second["previous_rewards"][0] == 0


def test_a_cut_episode_ends_at_the_last_observation_that_was_stored() -> None:
    streams = one_env(GO_ON, GO_ON, CUT, GO_ON)
    (sequence,) = streams.stored()
    assert sequence["observations"] == [0, 1, 2]
    assert (sequence["trained"], sequence["terminated"]) == ([1, 1, 0, 0, 0], False)
    assert observations(one_env(CUT, GO_ON)) == []  # one observation is no transition


def test_overlapping_sequences() -> None:
    layout = SequenceLayout(burn_in=1, length=4, overlap=2, n_steps=1)  # windows of 6 at every second step
    streams = one_env(*[GO_ON] * 7, TERMINATE, layout=layout)
    assert observations(streams) == [[0, 1, 2, 3, 4, 5], [2, 3, 4, 5, 6, 7], [4, 5, 6, 7, 8]]
    # A last sequence from 6 would train on step 7 only, which is in the one from 4 already.


def test_the_ring_wraps_exactly() -> None:
    """Twelve slots: writing the thirteenth takes away the sequence from observation 0, and nothing else."""
    streams = one_env(*[GO_ON] * 12, capacity=12)
    assert [sequence[0] for sequence in observations(streams)] == [0, 3]
    streams.step(GO_ON)
    assert [sequence[0] for sequence in observations(streams)] == [3, 6]
    assert observations(streams)[1] == [6, 7, 8, 9, 10, 11, 12]  # over the edge of the ring
    streams.step(GO_ON)
    streams.step(GO_ON)
    streams.step(GO_ON)
    assert [sequence[0] for sequence in observations(streams)] == [6, 9]


# --- Against plain lists ----------------------------------------------------------------------------------------------------

layouts = st.builds(
    lambda burn_in, length, overlap, n_steps: SequenceLayout(burn_in, length, overlap % length, min(n_steps, length)),
    st.integers(0, 5),
    st.integers(1, 5),
    st.integers(0, 4),
    st.integers(1, 4),
)
happenings = st.sampled_from([GO_ON] * 7 + [TERMINATE, TRUNCATE, CUT])


@settings(max_examples=150)
@given(st.data(), layouts, st.integers(1, 3), st.integers(0, 20))
def test_it_holds_what_plain_lists_hold(data: st.DataObject, layout: SequenceLayout, n_envs: int, more: int) -> None:
    streams = Streams(layout, n_envs, layout.window + 1 + more)
    for _ in range(data.draw(st.integers(1, 60))):
        streams.step(*(data.draw(happenings) for _ in range(n_envs)))
        if data.draw(st.booleans()):
            indices = streams.buffer.sequences
            streams.buffer.update_priorities(indices, np.full(len(indices), data.draw(st.floats(0, 100))))
        streams.check()


def test_long_streams() -> None:
    streams, rng = Streams(SequenceLayout(3, 4, 1, 3), 3, 57), np.random.default_rng(0)
    for i in range(700):
        streams.step(*rng.choice([GO_ON, TERMINATE, TRUNCATE, CUT], 3, p=[0.91, 0.03, 0.03, 0.03]))
        if i % 10 == 0:
            streams.check()


# --- Drawing ----------------------------------------------------------------------------------------------------------------


def test_draws_importance_weights_and_priorities() -> None:
    streams = one_env(*[GO_ON] * 9, TERMINATE)
    buffer = streams.buffer
    assert buffer.sequences.tolist() == [0, 3, 6]
    buffer.update_priorities(np.array([0, 3, 6]), np.array([4.0, 1.0, 0.25]))
    samples = buffer.sample(4000, importance_exponent=0.5)
    share = np.array([4.0, 1.0, 0.25]) ** 0.9
    counts = np.array([(samples.indices == first).sum() for first in (0, 3, 6)])
    np.testing.assert_allclose(counts / 4000, share / share.sum(), atol=1e-3)
    for first, expected in zip((0, 3, 6), (share / share[2]) ** -0.5, strict=True):
        np.testing.assert_allclose(samples.weights.numpy()[samples.indices == first], expected, rtol=1e-6)
    assert samples.num_from_start == counts[0]
    assert (samples.indices[: counts[0]] == 0).all()  # those come first


def test_new_sequences_come_with_the_largest_priority_so_far() -> None:
    streams = one_env(*[GO_ON] * 7)
    streams.buffer.update_priorities(np.array([0]), np.array([32.0]))
    streams.buffer.update_priorities(np.array([0]), np.array([0.5]))
    for _ in range(3):
        streams.step(GO_ON)
    assert streams.buffer._tree.leaves[[0, 3]].tolist() == [0.5**0.9, 32.0**0.9]


def test_uniform_draws_and_priorities_of_what_is_gone() -> None:
    streams = Streams(LAYOUT, 1, 12, priority_exponent=0.0)
    for _ in range(13):
        streams.step(GO_ON)
    streams.buffer.update_priorities(np.array([0, 3]), np.array([1000.0, 1000.0]))  # that from 0 is overwritten
    assert streams.buffer._tree.leaves.tolist() == [0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0]


def test_zero_states() -> None:
    streams = Streams(LAYOUT, 2, 40, stored_state=False)
    for _ in range(20):
        streams.step(GO_ON, GO_ON)
    assert all(sequence["state"] == 0 for sequence in streams.stored())


def test_an_empty_buffer_cannot_be_sampled() -> None:
    streams = one_env(GO_ON)
    assert streams.buffer.empty
    with pytest.raises(ValueError, match="all of them are 0"):
        streams.buffer.sample(1)


# --- Kinds of observations, and saving ----------------------------------------------------------------------------------------


def test_images_and_dictionaries_keep_their_types() -> None:
    space = spaces.Dict(
        {
            "image": spaces.Box(0, 255, (3, 8, 8), np.uint8),
            "vector": spaces.Box(-1, 1, (2,), np.float64),
            "n": spaces.Discrete(4),
        }
    )
    buffer = SequenceReplayBuffer(64, space, spaces.Discrete(2), "cpu", 2, layout=LAYOUT, state_shapes=((1, 2), (1, 2)))
    state = (np.zeros((1, 2, 2), np.float32),) * 2
    for t in range(8):
        obs = {"image": np.full((2, 3, 8, 8), t, np.uint8), "vector": np.full((2, 2), t / 10), "n": np.array([t % 4, 0])}
        final = {key: each + 1 for key, each in obs.items()}
        done = np.array([t == 7, False])
        buffer.add(obs, final, np.array([[0], [1]]), np.ones(2), done, [{}, {}], state)
    samples = buffer._get_samples(np.array([0]))
    assert samples.observations["image"].dtype == th.uint8
    assert samples.observations["vector"].dtype == th.float32
    assert samples.observations["image"][:, 0, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5, 6]
    last = buffer._get_samples(np.array([3]))
    assert last.observations["image"][:, 0, 0, 0, 0].tolist() == [3, 4, 5, 6, 7, 8, 8]
    assert last.observations["n"].shape == (7, 1, 1)
    assert buffer.observations["image"].nbytes == 64 * 3 * 8 * 8  # each observation once, a byte for each number


def test_a_saved_buffer_goes_on_as_if_nothing_had_happened(tmp_path: pathlib.Path) -> None:
    streams = Streams(LAYOUT, 2, 20)
    for i in range(33):
        streams.step(TERMINATE if i % 9 == 8 else GO_ON, GO_ON)
    streams.buffer.update_priorities(streams.buffer.sequences, np.linspace(1, 2, len(streams.buffer.sequences)))
    path = tmp_path / "buffer.pkl"
    path.write_bytes(pickle.dumps(streams.buffer))
    other = Streams(LAYOUT, 2, 20)
    other.__dict__.update(pickle.loads(pickle.dumps(streams.__dict__)))
    other.buffer = pickle.loads(path.read_bytes())
    for each in (streams, other):
        for _ in range(15):
            each.step(GO_ON, TRUNCATE)
    one, two = streams.buffer.sample(32), other.buffer.sample(32)
    assert one.indices.tolist() == two.indices.tolist()
    assert th.equal(one.observations, two.observations)
    assert th.equal(one.states[0], two.states[0])


# --- Bad input --------------------------------------------------------------------------------------------------------------


def test_buffers_that_cannot_hold_a_sequence_are_refused() -> None:
    with pytest.raises(ValueError, match=r"buffer_size must hold a sequence .* at least 8 .* times 2, got 14"):
        Streams(LAYOUT, 2, 7)


def test_states_of_another_shape_are_refused() -> None:
    streams = Streams(LAYOUT, 2, 40, state_shapes=((2, 4),))  # the streams' are (2, 3)
    for _ in range(3):
        streams.step(GO_ON, GO_ON)
    with pytest.raises(ValueError, match=r"states must be arrays of shapes \(\(2, 2, 4\),\).*, got \(\(2, 2, 3\),\)"):
        streams.step(GO_ON, GO_ON)  # the second sequence begins


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((-1, 3, 0, 2), "burn_in must be an integer from 0"),
        ((2, 3, 3, 2), "overlap must be an integer from 0 to 2, got 3"),
        ((2, 3, 0, 4), "sequence_length must be at least n_steps=4, got 3"),
        ((2, 3, 0, 0), "n_steps must be an integer from 1"),
        ((2, 0, 0, 1), "sequence_length must be an integer from 1"),
    ],
)
def test_lengths_that_make_no_sense_are_refused(numbers: tuple[int, int, int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SequenceLayout(*numbers)
