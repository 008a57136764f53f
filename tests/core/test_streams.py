"""Clocks and tracks: sound and picture stand where their time stamps say; the default track is read."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.diffused_heads_core.media.audio import load_audio
from diffused_heads.diffused_heads_core.media.video import read_video

RATE, FPS, BLOCK = 16000, 25, 1024


def click_track(seconds: float, clicks: list[float]) -> np.ndarray:
    """Sound (n,) float32 with a click of 2 ms at each of these seconds."""
    sound = np.zeros(round(seconds * RATE), np.float32)
    for at in clicks:
        sound[round(at * RATE) : round(at * RATE) + 32] = 0.8
    return sound


def clicks_in(sound: np.ndarray, rate: int = RATE) -> list[float]:
    """Where clicks begin, in seconds."""
    on = np.flatnonzero(np.abs(sound) > 0.3)
    return [round(float(at) / rate, 4) for at in on[np.insert(np.diff(on) > 100, 0, True)]] if len(on) else []


def write(
    path: Path,
    sounds: list[np.ndarray],
    *,
    pictures: int = 0,
    first_picture: float = 0.0,
    first_sound: float = 0.0,
    without: tuple[float, float] = (0.0, 0.0),
    default: int | None = None,
    cover: bool = False,
    interlaced: bool = False,
) -> Path:
    """A file with these sound tracks (PCM), pictures whose brightness tells their number, and a gap in the sound."""
    with av.open(str(path), "w") as container:
        tracks = [container.add_stream("pcm_s16le", rate=RATE, layout="mono") for _ in sounds]
        video = container.add_stream("ffv1", rate=FPS) if pictures else None
        if video is not None:
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for number, track in enumerate(tracks):
            if default is not None:
                track.disposition = Disposition.default if number == default else Disposition(0)
        for number in range(pictures):
            frame = av.VideoFrame.from_ndarray(picture(number, interlaced), format="gray").reformat(format="yuv420p")
            frame.pts, frame.time_base = round((number / FPS + first_picture) * 1000), Fraction(1, 1000)
            container.mux(video.encode(frame))
        if video is not None:
            container.mux(video.encode(None))
        for track, sound in zip(tracks, sounds):
            for begin in range(0, len(sound), BLOCK):
                if without[0] * RATE <= begin < without[1] * RATE:
                    continue
                block = np.rint(32767 * sound[None, begin : begin + BLOCK]).astype(np.int16)
                frame = av.AudioFrame.from_ndarray(block, format="s16", layout="mono")
                frame.sample_rate, frame.time_base = RATE, Fraction(1, RATE)
                frame.pts = begin + round(first_sound * RATE)
                container.mux(track.encode(frame))
            container.mux(track.encode(None))
    return path


def picture(number: int, interlaced: bool) -> np.ndarray:
    return np.full((48, 64), 16 + 4 * number, np.uint8)


def test_a_gap_in_the_sound_is_silent_and_what_follows_stands_in_its_place(tmp_path: Path) -> None:
    sound = click_track(3, [0.2, 1.0, 2.5])
    found = load_audio(write(tmp_path / "gap.mkv", [sound], without=(0.8, 1.3)))
    assert clicks_in(found.samples[0]) == pytest.approx([0.2, 2.5], abs=1 / 1000)
    assert found.duration == pytest.approx(3, abs=1 / 1000)


@pytest.mark.parametrize("late", [0.0, 0.4, 1.2])
def test_sound_that_begins_late_is_preceded_by_silence_where_there_are_pictures(late: float, tmp_path: Path) -> None:
    path = write(tmp_path / "late.mkv", [click_track(2, [0.5])], pictures=60, first_sound=late)
    found = load_audio(path)
    assert clicks_in(found.samples[0]) == pytest.approx([0.5 + late], abs=1 / 1000)
    part = load_audio(path, start=late + 0.4, duration=0.3)  # by the clock of a player
    assert clicks_in(part.samples[0]) == pytest.approx([0.1], abs=2 / 1000)


def test_a_recording_whose_clock_begins_late_begins_with_its_first_sample(tmp_path: Path) -> None:
    found = load_audio(write(tmp_path / "late.mka", [click_track(2, [0.5])], first_sound=7.0))
    assert clicks_in(found.samples[0]) == pytest.approx([0.5], abs=1 / 1000)


@pytest.mark.parametrize(("first_picture", "first_sound"), [(0.0, 0.6), (0.6, 0.0), (0.28, 0.28)])
def test_a_videos_sound_begins_with_its_first_picture(first_picture: float, first_sound: float, tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.mkv", [click_track(2, [1.0])], pictures=40, first_picture=first_picture, first_sound=first_sound
    )
    video = read_video(path)
    assert video.audio is not None
    assert clicks_in(video.audio.samples[0]) == pytest.approx([1.0 + first_sound - first_picture], abs=2 / 1000)


def test_the_default_track_is_read_and_another_can_be_chosen(tmp_path: Path) -> None:
    sounds = [click_track(1, [0.1]), click_track(1, [0.5]), click_track(1, [0.8])]
    path = write(tmp_path / "three.mkv", sounds, default=1)
    assert clicks_in(load_audio(path).samples[0]) == pytest.approx([0.5], abs=1 / 1000)
    for number, at in ((1, 0.1), (2, 0.5), (3, 0.8)):
        assert clicks_in(load_audio(path, track=number).samples[0]) == pytest.approx([at], abs=1 / 1000)
    for number in (0, 4):
        with pytest.raises(DiffusedHeadsError, match=rf"three.mkv: audio track {number}, expected 1 to 3"):
            load_audio(path, track=number)


def test_time_stamps_that_jump_back_or_far_ahead_count_as_a_new_clock(tmp_path: Path) -> None:
    """Two parts joined without mending their clocks: nothing is lost, and no hours of silence are made."""
    path = tmp_path / "joined.mka"
    with av.open(str(path), "w") as container:
        track = container.add_stream("pcm_s16le", rate=RATE, layout="mono")
        for part, origin in ((0, 0), (1, 9 * 3600)):
            for begin in range(0, RATE, BLOCK):
                block = np.rint(32767 * click_track(1, [0.5])[None, begin : begin + BLOCK]).astype(np.int16)
                frame = av.AudioFrame.from_ndarray(block, format="s16", layout="mono")
                frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), begin + (origin + part) * RATE
                container.mux(track.encode(frame))
        container.mux(track.encode(None))
    with av.open(str(path)) as container:
        told = (container.duration or 0) / 1e6
    found = load_audio(path, duration=5.0)
    assert clicks_in(found.samples[0])[0] == pytest.approx(0.5, abs=1 / 1000) and told > 3600


def interlaced_clip(path: Path) -> Path:
    """A bright bar that moves 4 px between the two fields of each frame, flagged as interlaced (top field first)."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg2video", rate=25, options={"flags": "+ilme+ildct", "top": "1"})
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 128, 96, "yuv420p", 8_000_000
        for number in range(12):
            gray = np.full((96, 128), 40, np.uint8)
            for field in range(2):
                at = 8 + 4 * (2 * number + field)
                gray[field::2, at : at + 12] = 200
            frame = av.VideoFrame.from_ndarray(gray, format="gray").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def combs(picture: np.ndarray) -> float:
    """Mean difference of lines from those beside them."""
    lines = picture[..., 1].astype(np.float32)
    return float(np.abs(2 * lines[1:-1] - lines[:-2] - lines[2:]).mean())


def test_interlaced_video_is_deinterlaced_one_picture_per_frame(tmp_path: Path) -> None:
    path = interlaced_clip(tmp_path / "fields.mpg")
    with av.open(str(path)) as container:
        raw = [frame for frame in container.decode(video=0)]
        if not any(frame.interlaced_frame for frame in raw):
            pytest.skip("this FFmpeg does not flag the made-up clip as interlaced")
        combed = np.mean([combs(frame.to_ndarray(format="rgb24")) for frame in raw])
    found = list(read_video(path).frames)
    assert len(found) == len(raw) and np.mean([combs(picture) for picture in found]) < 0.35 * combed


def test_cover_art_is_no_video(tmp_path: Path) -> None:
    """An MP3 with a picture: its sound is read, and as a video it is refused."""
    from diffused_heads.diffused_heads_core.media.pictures import save_picture

    save_picture(tmp_path / "cover.png", np.full((64, 64, 3), 90, np.uint8))
    path = tmp_path / "song.mp3"
    with av.open(str(path), "w") as container, av.open(str(tmp_path / "cover.png")) as art:
        track = container.add_stream("libmp3lame", rate=44100, layout="mono")
        cover = container.add_stream_from_template(art.streams.video[0])
        cover.disposition = Disposition.attached_pic
        for packet in art.demux(video=0):
            if packet.size:
                packet.stream = cover
                container.mux(packet)
        tone = (0.3 * np.sin(np.arange(44100) * 0.05)).astype(np.float32)[None]
        for begin in range(0, 44100, 1152):
            frame = av.AudioFrame.from_ndarray(tone[:, begin : begin + 1152], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 44100, begin
            container.mux(track.encode(frame))
        container.mux(track.encode(None))
    assert load_audio(path).duration == pytest.approx(1, abs=0.06)
    with pytest.raises(DiffusedHeadsError, match="no picture in it"):
        read_video(path)


def film(path: Path, sound: np.ndarray, first_sound: float, flashes: list[int]) -> Path:
    """An MP4 with AAC and three seconds of pictures, white at the numbers ``flashes``."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=FPS, options={"b": "2M"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        track = container.add_stream("aac", rate=RATE, layout="mono")
        for number in range(3 * FPS):
            gray = np.full((48, 64), 235 if number in flashes else 30, np.uint8)
            frame = av.VideoFrame.from_ndarray(gray, format="gray").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for begin in range(0, len(sound), BLOCK):
            frame = av.AudioFrame.from_ndarray(sound[None, begin : begin + BLOCK], format="fltp", layout="mono")
            frame.sample_rate, frame.time_base = RATE, Fraction(1, RATE)
            frame.pts = begin + round(first_sound * RATE)
            container.mux(track.encode(frame))
        container.mux(track.encode(None))
    return path


def cut_by_edit_list(path: Path, sound: bool, seconds: float) -> None:
    """Make the file's edit list of its sound, or of its pictures, leave out the first seconds."""
    data = bytearray(path.read_bytes())
    for part in data.split(b"trak")[1:]:
        if (b"soun" in part) != sound:
            continue
        at = data.find(part) + part.find(b"elst")
        assert part.find(b"elst") > 0 and data[at + 4] == 0 and int.from_bytes(data[at + 8 : at + 12], "big") == 1
        scale = part.find(b"mdhd") + 16
        units = round(seconds * int.from_bytes(part[scale : scale + 4], "big"))
        media = int.from_bytes(data[at + 16 : at + 20], "big")
        data[at + 16 : at + 20] = (media + units).to_bytes(4, "big")
    path.write_bytes(data)


def test_an_mp4_whose_sound_begins_late_is_in_step(tmp_path: Path) -> None:
    path = film(tmp_path / "late.mp4", click_track(2, [0.5]), 0.6, [30])
    video = read_video(path)
    assert video.audio is not None
    assert clicks_in(video.audio.samples[0])[0] == pytest.approx(1.1, abs=0.01)
    assert [n for n, shown in enumerate(video.frames) if shown.mean() > 128] == [30]
    assert clicks_in(load_audio(path).samples[0])[0] == pytest.approx(1.1, abs=0.01)


@pytest.mark.parametrize("sound", [True, False])
def test_edit_lists_are_followed(sound: bool, tmp_path: Path) -> None:
    path = film(tmp_path / "edited.mp4", click_track(3, [1.5]), 0.0, [40])
    cut_by_edit_list(path, sound, 0.48)
    video = read_video(path)
    assert video.audio is not None
    flash = next(n for n, shown in enumerate(video.frames) if shown.mean() > 128)
    click = clicks_in(video.audio.samples[0])[0]
    assert flash == (40 if sound else 28)
    assert click == pytest.approx(1.02 if sound else 1.5, abs=0.03)
