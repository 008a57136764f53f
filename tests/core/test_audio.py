"""Sound: every format in, right level, right length, and errors that say what is wrong."""

from __future__ import annotations

import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.media.audio import (
    SAMPLE_RATE,
    Audio,
    check_speech,
    from_waveform,
    load_audio,
    to_mono_16k,
)
from diffused_heads.diffused_heads_core.media.mixdown import normalise_level, resample

REAL = Path(__file__).resolve().parents[2].parent / "shared" / "real_inputs"
LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 6: "5.1", 8: "7.1"}


def tone(seconds: float = 1.0, rate: int = 16000, hertz: float = 440.0, level: float = 0.5) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def encode(path: Path, samples: np.ndarray, rate: int, codec: str, container: str | None = None) -> Path:
    """Write (channels, n) with PyAV in any codec."""
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate, layout=LAYOUTS[len(samples)])
        packed = np.ascontiguousarray(samples.T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=LAYOUTS[len(samples)])
        frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), 0
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def peak_frequency(mono: np.ndarray, rate: int = SAMPLE_RATE) -> float:
    spectrum = np.abs(np.fft.rfft(mono * np.hanning(len(mono)), 8 * len(mono)))
    return float(np.argmax(spectrum)) * rate / (8 * len(mono))


def level_db(samples: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(samples, dtype=np.float64)) + 1e-20))


@pytest.mark.parametrize("codec", ["pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le"])
@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (44100, 2), (96000, 8)])
def test_pcm_comes_back_as_written(tmp_path, codec, rate, channels):
    samples = np.stack([tone(0.3, rate, 200 * (c + 1)) for c in range(channels)])
    audio = load_audio(encode(tmp_path / "a.wav", samples, rate, codec))
    assert (audio.sample_rate, audio.samples.dtype, audio.samples.shape) == (rate, np.float32, samples.shape)
    assert np.abs(audio.samples - samples).max() < (0.009 if codec == "pcm_u8" else 2e-4)


@pytest.mark.parametrize(
    ("suffix", "codec", "rate", "channels"),
    [
        ("mp3", "libmp3lame", 44100, 2),
        ("m4a", "aac", 48000, 2),
        ("flac", "flac", 22050, 1),
        ("ogg", "libopus", 48000, 2),
        ("mov", "pcm_s16be", 32000, 4),
        ("mkv", "ac3", 48000, 2),
        ("aiff", "pcm_s16be", 11025, 1),
        ("au", "pcm_mulaw", 8000, 1),
    ],
)
def test_a_tone_stays_that_tone_in_every_container(tmp_path, suffix, codec, rate, channels):
    path = encode(tmp_path / f"a.{suffix}", np.stack([tone(1.0, rate)] * channels), rate, codec)
    audio = load_audio(path)
    assert (audio.sample_rate, audio.channels) == (rate, channels)
    assert abs(audio.duration - 1) < 0.06  # coded frames of up to 2048 samples
    mono = to_mono_16k(audio)
    assert abs(peak_frequency(mono[2000:14000]) - 440) < 1
    assert abs(np.abs(mono[4000:12000]).max() - 0.5) < 0.05


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000, 50000, 96000])
def test_resampling_keeps_pitch_level_and_length(rate):
    samples = tone(1.0001, rate)
    mono = to_mono_16k(Audio(samples[None], rate))
    assert mono.dtype == np.float32 and len(mono) == round(Fraction(len(samples) * 16000, rate))
    assert abs(peak_frequency(mono) - 440) < 1
    assert np.abs(mono - tone(2)[: len(mono)])[100:-100].max() < 2e-3  # same phase: no delay


def test_resampling_removes_what_the_new_rate_cannot_hold():
    assert np.abs(to_mono_16k(Audio(tone(0.5, 48000, 11000)[None], 48000))[200:-200]).max() < 0.01


def test_blocks_leave_no_seam():
    samples = tone(10, 44100)
    mono = to_mono_16k(Audio(np.stack([samples, samples]), 44100))
    assert np.abs(mono - tone(10))[100:-100].max() < 2e-3


@pytest.mark.parametrize(
    "mix",
    [
        [[1], [-1]],
        [[1], [0]],
        [[0], [1]],
        [[0], [0], [1], [-1]],
        [[1], [1], [-1]],
        [[1]] * 8,
        [[0], [0], [0], [0], [0], [1]],
        [[1], [-0.5]],
    ],
)
def test_a_voice_in_any_channel_or_phase_survives_at_its_level(mix):
    mono = to_mono_16k(Audio((np.array(mix) * tone(0.5)).astype(np.float32), 16000))
    assert -1.5 < level_db(mono) - level_db(tone(0.5)) < 0.5


def test_two_speakers_on_two_channels_are_both_kept():
    first, second = tone(2), tone(2, hertz=700)
    first[16000:] = 0
    second[:16000] = 0
    mono = to_mono_16k(Audio(np.stack([first, second]), 16000))
    assert abs(level_db(mono[:16000]) - level_db(first[:16000])) < 0.5
    assert level_db(mono[16000:]) - level_db(second[16000:]) > -6.5


def test_independent_channels_are_averaged():
    noise = np.random.default_rng(0).normal(0, 0.1, (2, 16000)).astype(np.float32)
    assert np.abs(to_mono_16k(Audio(noise, 16000)) - noise.mean(0))[1600:].max() < 0.03


def test_nothing_on_the_way_to_the_encoder_looks_ahead():
    rng = np.random.default_rng(1)
    samples = (rng.normal(0, 0.1, (2, 44100 * 3)) * np.linspace(0.01, 3, 44100 * 3)).astype(np.float32)
    samples[1, 50000:] *= -1
    whole = normalise_level(to_mono_16k(Audio(samples, 44100)))
    part = normalise_level(to_mono_16k(Audio(samples[:, :44100], 44100)))
    safe = 16000 - 320
    assert np.abs(whole[:safe] - part[:safe]).max() < 1e-5


def speechlike(seconds: float = 5.0) -> np.ndarray:
    """Syllables of noise, four a second, with quiet gaps: -20 dBFS at their loudest."""
    time = np.arange(round(seconds * 16000)) / 16000
    envelope = np.maximum(np.sin(2 * np.pi * 4 * time), 0) ** 2 + 0.002
    return (np.random.default_rng(2).normal(0, 0.1, len(time)) * envelope).astype(np.float32)


@pytest.mark.parametrize("decibel", [-26, -10, 0, 15])
def test_speech_of_any_loudness_reaches_the_same_level(decibel):
    levelled = normalise_level(speechlike() * 10 ** (decibel / 20))
    loud = np.sqrt(np.square(levelled[32000:].reshape(-1, 160)).mean(1)).max()
    assert abs(20 * np.log10(loud) + 20) < 2


def test_leading_room_noise_and_silence_stay_quiet():
    room = np.random.default_rng(3).normal(0, 10 ** (-60 / 20), 48000).astype(np.float32)
    assert level_db(normalise_level(room)) < -38
    assert not normalise_level(np.zeros(16000, np.float32)).any()
    assert normalise_level(np.zeros(0, np.float32)).shape == (0,)


def test_start_and_duration_are_exact_to_a_sample(tmp_path):
    ramp = np.linspace(-1, 1, 16000, dtype=np.float32)[None]
    path = encode(tmp_path / "a.wav", ramp, 16000, "pcm_f32le")
    assert np.array_equal(load_audio(path, 0.25, 0.5).samples, ramp[:, 4000:12000])
    assert np.array_equal(load_audio(path, 0.9, 5).samples, ramp[:, 14400:])


@pytest.mark.parametrize(
    ("start", "duration"), [(-1, None), (float("nan"), None), (0, 0), (0, -2), (0, float("inf")), (1.5, None)]
)
def test_a_part_that_is_not_there_is_refused(tmp_path, start, duration):
    path = encode(tmp_path / "a.wav", tone()[None], 16000, "pcm_s16le")
    with pytest.raises(DiffusedHeadsError, match=r"a\.wav.*(start|duration)"):
        load_audio(path, start, duration)


def test_the_extension_may_lie(tmp_path):
    path = encode(tmp_path / "really_wav.mp3", tone()[None], 16000, "pcm_s16le", "wav")
    assert np.abs(load_audio(path).samples - tone()).max() < 1e-4


def test_an_mp3_with_a_cover_picture(tmp_path):
    path = tmp_path / "cover.mp3"
    with av.open(str(path), "w") as out:
        sound = out.add_stream("libmp3lame", rate=44100, layout="mono")
        cover = out.add_stream("mjpeg", rate=1)
        cover.width = cover.height = 32
        cover.pix_fmt = "yuvj420p"
        out.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        frame = av.AudioFrame.from_ndarray(tone(1, 44100)[None], format="fltp", layout="mono")
        frame.sample_rate = 44100
        out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
    assert abs(load_audio(path).duration - 1) < 0.06


def bad_files(folder: Path) -> dict[str, tuple[Path, str]]:
    files = {"missing": (folder / "none.wav", "no such file"), "folder": (folder, "folder")}
    for name, content, said in [
        ("empty.wav", b"", "0 bytes"),
        ("text.wav", b"hello there\n" * 50, "no audio"),
        ("noise.mp3", np.random.default_rng(0).bytes(5000), "damaged"),
        ("header.wav", b"RIFF\x24\x00\x00\x00WAVEfmt ", "damaged"),
    ]:
        (folder / name).write_bytes(content)
        files[name] = (folder / name, said)
    files["short"] = (encode(folder / "short.wav", tone(0.02)[None], 16000, "pcm_s16le"), "0.02")
    broken = tone()[None].copy()
    broken[0, 500] = np.nan
    files["nan"] = (encode(folder / "nan.wav", broken, 16000, "pcm_f32le"), "finite")
    with av.open(str(folder / "mute.mp4"), "w") as out:
        stream = out.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        out.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        out.mux(stream.encode(None))
    files["mute"] = (folder / "mute.mp4", "without sound")
    return files


def test_bad_files_are_named_in_one_line(tmp_path):
    for path, said in bad_files(tmp_path).values():
        with pytest.raises(DiffusedHeadsError) as caught:
            load_audio(path)
        message = str(caught.value)
        assert str(path) in message and said in message and "\n" not in message, message


def test_a_recording_cut_short_gives_what_is_there(tmp_path):
    path = encode(tmp_path / "a.mp3", tone(3, 44100)[None], 44100, "libmp3lame")
    path.write_bytes(path.read_bytes()[: -path.stat().st_size // 2])
    assert 1 < load_audio(path).duration < 2


def test_speech_is_neither_silent_nor_a_click():
    check_speech(Audio(tone(0.4, level=0.001)[None], 16000))
    for samples, said in [
        (tone(0.1), "0.100 s"),
        (tone(1, level=1e-4), "silent"),
        (np.full(16000, 0.3, np.float32), "silent"),
    ]:
        with pytest.raises(DiffusedHeadsError, match=f"voice.*{said}"):
            check_speech(Audio(samples[None], 16000, "voice"))


def test_waveforms_of_every_kind():
    torch = pytest.importorskip("torch")
    expected = tone()[None]
    for waveform in (
        tone(),
        expected,
        expected[None],
        torch.from_numpy(tone()),
        torch.from_numpy(expected).double(),
        np.round(expected * 32768).astype(np.int16),
        torch.from_numpy(expected).requires_grad_(),
    ):
        assert np.abs(from_waveform(waveform, 16000).samples - expected).max() < 1e-4
    source = tone()[None] * 4
    assert np.abs(from_waveform(source, 16000).samples).max() == pytest.approx(1)
    assert np.abs(source).max() > 1.9  # the caller's array is untouched
    for bad in (
        np.zeros((2, 3, 16000)),
        np.zeros((0, 16000)),
        np.zeros((1, 10)),
        np.full((1, 16000), np.inf),
        np.array("x"),
    ):
        with pytest.raises(DiffusedHeadsError, match="voice"):
            from_waveform(bad, 16000, "voice")


def test_resample_keeps_channels_apart():
    both = resample(np.stack([tone(1, 44100), tone(1, 44100, 880)]), 44100, 48000)
    assert both.shape == (2, 48000)
    assert [round(peak_frequency(c, 48000)) for c in both] == [440, 880]


def test_real_recordings():
    if not REAL.is_dir():
        pytest.skip("../shared/real_inputs is not beside this repository")
    for path in sorted((REAL / "audio").iterdir()):
        audio = load_audio(path)
        check_speech(audio)
        levelled = normalise_level(to_mono_16k(audio))
        assert len(levelled) == round(audio.exact_duration * SAMPLE_RATE) and -30 < level_db(levelled) < -18, path.name


def test_riff_of_the_standard_library_agrees(tmp_path):
    pcm = np.round(tone() * 32767).astype("<i2")
    with wave.open(str(tmp_path / "a.wav"), "wb") as out:
        out.setnchannels(1), out.setsampwidth(2), out.setframerate(16000)
        out.writeframes(pcm.tobytes())
    assert np.array_equal(load_audio(tmp_path / "a.wav").samples[0], pcm.astype(np.float32) / 32768)
