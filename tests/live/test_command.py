"""``diffused-heads live`` says in a line what it lacks."""

from __future__ import annotations

import socket

import pytest

from diffused_heads.diffused_heads_core.cli import live
from diffused_heads.diffused_heads_core.cli.main import main


def test_without_its_packages_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(live, "find_spec", lambda name: None)
    assert main(["live"]) == 1
    error = capsys.readouterr().err
    assert "aiohttp and aiortc" in error and "diffused-heads[live]" in error and error.count("\n") == 1


def test_a_port_that_is_taken_a_wrong_motion_and_another_model_are_errors(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("aiortc")
    pytest.importorskip("aiohttp")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for words, text in (
            (["--port", port], "cannot be served"),
            (["--blinks", "7"], "blinks=7.0: expected 0..2"),
            (["--portrait", "nobody.png"], "nobody.png"),
        ):
            assert main(["live", *words]) == 1
            error = capsys.readouterr().err
            assert text in error and error.splitlines()[-1].startswith("diffused-heads: error: ")


def test_a_model_of_whole_frames_is_refused_before_the_page_is_served(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("aiortc")
    pytest.importorskip("aiohttp")
    assert main(["live", "--model", "human"]) == 1
    assert "paints the mouth alone" in capsys.readouterr().err
