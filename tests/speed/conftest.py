"""Runs of these tests go on one device, as on a laptop; tests of several devices say so."""

import pytest


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    monkeypatch.setenv("DALIB_DEVICES", "1")
