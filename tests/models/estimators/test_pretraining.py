"""Pre-training: windows of a recording become similar, fits continue exactly, foreign files are refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

from features.common.errors import UserError
from models.estimators.cnn import CNNClassifier
from models.estimators.gru import GRUClassifier
from models.estimators.network import NetworkClassifier
from models.estimators.pretraining import Pretraining, read_encoder
from models.estimators.pretraining_losses import HEADS, MARGIN, COLAHead, TripletHead
from models.estimators.pretraining_pairs import MAX_BANDS, MIN_SHIFT, NEAR, NOISE, WindowPairs, mixture
from models.estimators.weights import read_weights, write_weights

N_RECORDINGS, N_BANDS = 12, 16
SMALL_CNN = {"channels": (4, 4, 8), "hidden_size": 8}


def recordings() -> tuple[np.ndarray, np.ndarray]:
    """Return windows of noise, in which each recording has a tone in a band of its own at random times."""
    rng = np.random.default_rng(0)
    n_windows = rng.integers(8, 12, N_RECORDINGS)
    X = rng.normal(size=(n_windows.sum(), 12, N_BANDS))
    band = np.repeat(np.arange(N_RECORDINGS), n_windows)
    X[np.arange(len(X)), rng.integers(12, size=len(X)), band] += 10
    return X.astype(np.float16), n_windows


def networks() -> list[NetworkClassifier]:
    return [GRUClassifier(hidden_size=8, device="cpu"), CNNClassifier(**SMALL_CNN, device="cpu")]


def embeddings(pretraining: Pretraining, X: np.ndarray) -> np.ndarray:
    """Return the mean features of windows, standardised."""
    net = pretraining.network.net_for(X, torch.full((1,), 0.5))
    net.load_encoder(pretraining.encoder_.state)
    with torch.no_grad():
        found = net.eval().encode(net.normalise(torch.from_numpy(X))).mean(dim=1).numpy()
    return (found - found.mean(axis=0)) / (found.std(axis=0) + 1e-6)


def share_of_own(found: np.ndarray, recording: np.ndarray) -> float:
    """Return the share of windows whose most similar window is of the same recording."""
    distance = ((found[:, None] - found) ** 2).sum(axis=2)
    np.fill_diagonal(distance, np.inf)
    return float((recording[distance.argmin(axis=1)] == recording).mean())


@pytest.mark.parametrize("loss", HEADS)
@pytest.mark.parametrize("network", networks(), ids=lambda network: type(network).__name__)
def test_windows_of_a_recording_become_similar(network: NetworkClassifier, loss: str) -> None:
    X, n_windows = recordings()
    recording = np.repeat(np.arange(N_RECORDINGS), n_windows)
    shares = [
        share_of_own(
            embeddings(
                Pretraining(network=network, loss=loss, epochs=epochs, batch_size=32, learning_rate=lr).fit(
                    X, n_windows
                ),
                X,
            ),
            recording,
        )
        for epochs, lr in ((1, 1e-9), (40, 1e-2))
    ]
    assert shares[1] > max(0.4, shares[0] + 0.2), shares


@pytest.mark.parametrize("loss", HEADS)
def test_interrupted_fit_continues_exactly(tmp_path: Path, loss: str) -> None:
    X, n_windows = recordings()

    def pretraining() -> Pretraining:
        return Pretraining(network=networks()[0], loss=loss, epochs=4, batch_size=32, n_anchors=64)

    whole, checkpoint = pretraining().fit(X, n_windows), tmp_path / "a.unfinished"
    interrupted = pretraining()

    def stop(_: float) -> None:
        if len(interrupted.history_) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted.fit(X, n_windows, on_epoch=stop, checkpoint=checkpoint)
    torch.rand(5)  # the state of the generator is restored
    calls: list[float] = []
    continued = pretraining().fit(X, n_windows, on_epoch=calls.append, checkpoint=checkpoint)
    assert len(calls) == 2
    assert continued.history_ == whole.history_
    whole.save(tmp_path / "whole.pt")
    continued.save(tmp_path / "continued.pt")
    assert (tmp_path / "whole.pt").read_bytes() == (tmp_path / "continued.pt").read_bytes()
    other, calls = pretraining(), []
    other.random_state = 1
    other.fit(X, n_windows, on_epoch=calls.append, checkpoint=checkpoint)
    assert len(calls) == 4  # it does not continue that of another seed
    checkpoint.write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"a\.unfinished: not a valid checkpoint .*; remove the file"):
        pretraining().fit(X, n_windows, checkpoint=checkpoint)


def test_positives_are_other_windows_of_the_same_recording() -> None:
    counts = np.array([1, 2, 3, 10, 40])
    recording = np.repeat(np.arange(len(counts)), counts)
    position = np.concatenate([np.arange(n) for n in counts])
    data = torch.from_numpy(np.stack([recording, position], axis=1)[:, None].astype(np.float32))
    pairs = WindowPairs(data, counts, torch.Generator().manual_seed(0))
    assert set(range(len(recording))) - set(pairs.usable.tolist()) == {0}
    for _ in range(20):
        for anchors in pairs.batches(8, 3):
            found = pairs.positives(anchors, "cola")[:, 0].numpy()
            own = anchors.numpy()
            np.testing.assert_array_equal(found[:, 0], recording[own])
            assert (found[:, 1] != position[own]).all()
            distance = np.abs(found[:, 1] - position[own])
            assert (distance[counts[recording[own]] > 2 * MIN_SHIFT] >= MIN_SHIFT).all()
    everywhere = pairs._shifted(torch.arange(16, 56), torch.ones(40).long(), torch.full((40,), NEAR))
    assert set(((everywhere - torch.arange(16, 56)) % 40).tolist()) == set(range(1, NEAR + 1))


def test_positives_of_triplets_are_changed_anchors() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(5, 3, (40, 10, 16)).astype(np.float32)
    pairs = WindowPairs(torch.from_numpy(X), np.array([20, 20]), torch.Generator().manual_seed(0))
    x = torch.from_numpy(X)
    noise = (pairs._noisy(x) - x).numpy()
    np.testing.assert_allclose(noise.std(axis=(0, 1)), NOISE * X.std(axis=(0, 1)), rtol=0.15)
    inner = slice(MAX_BANDS, -MAX_BANDS)  # bands at the edges are repeated
    for shifted, original in zip(pairs._translated(x).numpy(), X, strict=True):
        candidates = [
            np.roll(original, (t, b), axis=(0, 1))[:, inner]
            for t in range(10)
            for b in range(-MAX_BANDS, MAX_BANDS + 1)
        ]
        assert any(np.array_equal(shifted[:, inner], candidate) for candidate in candidates)
    power = 10 ** (mixture(x, x.flip(0) + 20).double() / 10)  # a louder window is not louder in the mixture
    own, other = 10 ** (x.double() / 10), 10 ** (x.flip(0).double() / 10)
    added = power - own
    torch.testing.assert_close(added.sum(dim=(1, 2)), 0.25 * own.sum(dim=(1, 2)), rtol=1e-4, atol=0)
    shares = (each / each.sum(dim=(1, 2), keepdim=True) for each in (added, other))
    torch.testing.assert_close(*shares, rtol=1e-3, atol=1e-5)
    found = pairs.positives(torch.arange(40), "triplets").numpy()
    assert found.shape == X.shape
    assert np.isfinite(found).all()
    is_neighbour = np.array([[np.array_equal(p, other) for other in X] for p in found])
    assert 2 < is_neighbour.sum() < 20
    for anchor, other in zip(*np.nonzero(is_neighbour), strict=True):
        assert 1 <= (other - anchor) % 20 <= NEAR or other == anchor


def test_negatives_of_triplets_are_of_other_recordings() -> None:
    head = TripletHead(2, 2)
    head.project = torch.nn.Identity()  # type: ignore[assignment]
    angle = torch.tensor([0.0, 3.1, 0.5, 1.0])
    anchor = torch.stack([angle.cos(), angle.sin()], dim=1)
    positive, recording = anchor.roll(0), torch.tensor([0, 0, 1, 2])
    distance = 2 - 2 * torch.cos(angle[:, None] - angle)
    nearest = torch.stack([distance[0, 2], distance[1, 3], distance[2, 0], distance[3, 2]])
    expected = (MARGIN - nearest).relu().mean()
    torch.testing.assert_close(head(anchor, positive, recording), expected, rtol=1e-4, atol=1e-4)
    # No other recording is further away than the positive: the furthest of them, not the own recording.
    far = head(anchor[:3], -anchor[:3], torch.tensor([0, 0, 1]))
    furthest = torch.stack([distance[0, 2], distance[1, 2], distance[2, [0, 1]].max()])
    torch.testing.assert_close(far, (4 - furthest + MARGIN).mean(), rtol=1e-4, atol=1e-4)
    assert head(anchor, positive, torch.zeros(4)) == 0


def test_losses_prefer_similar_pairs() -> None:
    torch.manual_seed(0)
    recording = torch.arange(6)
    anchor = 3 * torch.eye(6, 8)
    shuffled = anchor[torch.tensor([1, 2, 3, 4, 5, 0])]
    for head in (COLAHead(8, 4), TripletHead(8, 4)):
        if isinstance(head, COLAHead):
            torch.nn.init.eye_(head.bilinear.weight)
            assert head(anchor, anchor, torch.zeros(6)) == 0  # there is no negative
        assert head(anchor, anchor, recording) < head(anchor, shuffled, recording)


def test_encoder_file_is_read_and_foreign_ones_are_refused(tmp_path: Path) -> None:
    X, n_windows = recordings()
    gru, cnn = networks()
    file = tmp_path / "encoder.pt"
    Pretraining(network=gru, epochs=1).fit(X, n_windows).save(file)
    encoder = read_encoder(file, gru, N_BANDS)
    Y = (np.arange(len(X)) % 2)[:, None].astype(float)
    fits = [
        GRUClassifier(hidden_size=8, epochs=1, device="cpu").fit(X, Y, encoder=e) for e in (encoder, None)
    ]
    assert not np.array_equal(fits[0].predict_proba(X), fits[1].predict_proba(X))
    np.testing.assert_array_equal(fits[0].net_.mean.numpy(), encoder.state["mean"].numpy())
    layers = r"encoder\.pt: its layers or bands are not those of this model with {} bands; .*leave out --cell"
    for network, n_bands, message in (
        (
            cnn,
            N_BANDS,
            r"encoder\.pt: encoder of a GRUClassifier, but this model is a CNNClassifier; .*--model",
        ),
        (gru, 32, layers.format(32)),
        (GRUClassifier(hidden_size=4, device="cpu"), N_BANDS, layers.format(N_BANDS)),
        (GRUClassifier(hidden_size=8, cell="LSTM", device="cpu"), N_BANDS, layers.format(N_BANDS)),
    ):
        with pytest.raises(UserError, match=message):
            read_encoder(file, network, n_bands)
    content = read_weights(file)
    content["state"]["mean"][:] = np.nan
    write_weights(tmp_path / "nan.pt", content)
    with pytest.raises(
        UserError, match=r"nan\.pt: its weights are not finite; run pretrain\.py with another seed"
    ):
        read_encoder(tmp_path / "nan.pt", gru, N_BANDS)
    content["state"]["mean"] = "text"
    write_weights(tmp_path / "value.pt", content)
    fits[0].save(tmp_path / "fold0.pt")
    (tmp_path / "text.pt").write_text("no weights")
    for name in ("fold0", "text", "value", "missing"):
        with pytest.raises(UserError, match=rf"{name}\.pt: not an encoder that pretrain\.py wrote \("):
            read_encoder(tmp_path / f"{name}.pt", gru, N_BANDS)


def test_a_single_recording_is_not_enough() -> None:
    with pytest.raises(UserError, match="at least two recordings that are longer than a window"):
        Pretraining(network=networks()[0]).fit(np.zeros((5, 4, 4), np.float32), np.array([4, 1]))
