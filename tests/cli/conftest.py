"""A stand-in for the models."""

import pytest
from made_synthesizer import MadeSegmenter, MadeSynthesizer


@pytest.fixture
def made(monkeypatch):
    monkeypatch.setattr("xsyn_core.synthesis.Synthesizer", MadeSynthesizer)
    monkeypatch.setattr("xsyn_core.weights.load_models", lambda *_, **__: None)
    monkeypatch.setattr("xsyn_core.weights.load_segmenter", lambda *_, **__: MadeSegmenter())


@pytest.fixture
def no_models(monkeypatch):
    def load(*_, **__):
        raise AssertionError("the models were loaded before the mistake was told")

    monkeypatch.setattr("xsyn_core.weights.load_models", load)
    monkeypatch.setattr("xsyn_core.weights.load_segmenter", load)
