"""Rendered people: the face model's file, geometry, truth, what they wear, the renderer, the corpus. A made-up face
model stands in for the real one, which is used too if it lies beside the checkout.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from face_model_stub import NAMES, write_stub

from diffused_heads.diffused_heads_core import pose as head_pose
from diffused_heads.diffused_heads_core.errors import DiffusedHeadsError
from diffused_heads.training.synthesis import corpus, speech
from diffused_heads.training.synthesis.expression import EXPRESSION, index
from diffused_heads.training.synthesis.people import blend_shapes, camera, face_model, gl, person as appearance, scene

REAL = Path(__file__).parents[3] / "shared" / "ict_face" / "ict_face.npz"
pytest.importorskip("moderngl", reason="moderngl is not installed")
try:
    gl.context()
except DiffusedHeadsError as error:
    pytest.skip(f"no headless OpenGL: {error}", allow_module_level=True)

from diffused_heads.training.synthesis.people import backdrop, beard, clothes, hair, head, render, sheet, skull, wear  # noqa: E402

STILL = np.zeros(5)


def expression(**channels: float) -> np.ndarray:
    values = np.zeros(len(EXPRESSION))
    for name, value in channels.items():
        values[index(name)] = value
    return values


@pytest.fixture(scope="session")
def stub(tmp_path_factory) -> Path:
    return write_stub(tmp_path_factory.mktemp("face") / "face.npz")


@pytest.fixture(scope="session")
def real() -> Path:
    if not REAL.exists():
        pytest.skip("no packed face model at ../shared/ict_face/ict_face.npz")
    return REAL


@lru_cache(maxsize=4)
def shown(path: Path, seed: int, size: int = 64) -> render.Portrait:
    return render.portrait(appearance.sample_person(np.random.default_rng(seed)), path, size)


@lru_cache(maxsize=2)
def bare_head(path: Path) -> tuple[head.Head, skull.Skull]:
    one = head.Head(face_model.load_face_model(path), np.zeros(5))
    return one, skull.Skull(one)


def test_appearances_are_as_diverse_as_people():
    crowd = [appearance.sample_person(np.random.default_rng(seed)) for seed in range(400)]
    assert np.mean([p.hair_style in appearance.BARE for p in crowd]) < 0.2, "a bald majority"
    assert not any(p.beard != "none" and not p.masculine for p in crowd)
    assert np.std([p.dark for p in crowd]) > 0.2 and {p.backdrop for p in crowd} == set(appearance.BACKDROPS)
    assert {p.hair_style for p in crowd} == set(appearance.HAIR_STYLES) == set(hair.STYLES)


def test_a_missing_or_damaged_face_model_is_named(tmp_path, stub):
    with pytest.raises(DiffusedHeadsError, match="nowhere.npz"):
        face_model.load_face_model(tmp_path / "nowhere.npz")
    (tmp_path / "cut.npz").write_bytes(stub.read_bytes()[:5000])
    with pytest.raises(DiffusedHeadsError, match="cut.npz"):
        face_model.load_face_model(tmp_path / "cut.npz")
    np.savez(tmp_path / "other.npz", neutral=np.zeros((3, 3)))
    with pytest.raises(DiffusedHeadsError, match="missing tri"):
        face_model.load_face_model(tmp_path / "other.npz")


def _write_obj(path: Path, vertices: np.ndarray, quads: int) -> None:
    lines = ["v " + " ".join(f"{c:.4f}" for c in vertex) for vertex in vertices] + [
        "vt 0 0",
        "vt 1 0",
        "vt 1 1",
        "vt 0 1",
    ]
    corners = (np.arange(quads)[:, None] * 4 + np.arange(4)) % len(vertices) + 1
    lines += [f"f {a}/1/1 {b}/2/1 {c}/3/1 {d}/4/1" for a, b, c, d in corners.tolist()]
    path.write_text("\n".join(lines))


def test_packing_gathers_offsets_and_cuts_quads(tmp_path):
    rng = np.random.default_rng(0)
    neutral = rng.normal(0, 5, (24700, 3)).round(4)
    moved = neutral + (0, 0.5, 0)
    _write_obj(tmp_path / "generic_neutral_mesh.obj", neutral, 26384)
    _write_obj(tmp_path / "identity000.obj", moved, 1)
    _write_obj(tmp_path / "jawOpen.obj", neutral - (0, 2, 0), 1)
    model = face_model.pack(tmp_path, tmp_path / "packed.npz")
    assert model.names == ("jawOpen",) and len(model.triangles) == 2 * 26384
    np.testing.assert_allclose(model.identity[0], np.tile((0, 0.5, 0), (24700, 1)), atol=1e-3)
    np.testing.assert_allclose(model.expression[0], np.tile((0, -2, 0), (24700, 1)), atol=1e-3)
    assert model.polygon[:4].tolist() == [0, 0, 1, 1] and model.triangles[:2].tolist() == [[0, 1, 2], [0, 2, 3]]
    with pytest.raises(DiffusedHeadsError, match="generic_neutral_mesh"):
        face_model.pack(tmp_path / "nothing", tmp_path / "other.npz")


def test_the_camera_far_away_projects_as_the_pose_module_does():
    pose, points = np.array([0.3, -0.2, 0.15, 0.02, -0.01]), np.random.default_rng(0).normal(0, 0.2, (20, 3))
    np.testing.assert_allclose(scene.on_screen(points, pose, 1e6), head_pose.project(points, pose), atol=1e-5)


def test_image_left_is_the_models_right():
    weights = blend_shapes.blend_weights(
        expression(blink_left=1, brow_left=1), NAMES, 0.5, np.ones(len(NAMES)), np.zeros(len(NAMES))
    )
    found = {name for name, weight in zip(NAMES, weights) if weight > 0}
    assert found == {"eyeBlink_R", "browInnerUp_R", "browOuterUp_R"}


def test_lips_meet_for_closed_sounds_whatever_the_jaw():
    def weight(name: str, **channels: float) -> float:
        return float(
            blend_shapes.blend_weights(expression(**channels), NAMES, 0.5, np.ones(len(NAMES)), np.zeros(len(NAMES)))[
                NAMES.index(name)
            ]
        )

    assert weight("jawOpen", press=1) == pytest.approx(weight("mouthClose", press=1)) and weight("jawOpen", press=1) > 0
    assert weight("jawOpen", open=1) == pytest.approx(0.45) and weight("mouthPucker", wide=-1) > 0.5 > weight(
        "mouthPucker", wide=0.5
    )


def test_a_focused_head_moves_as_the_whole_does(stub):
    model = face_model.load_face_model(stub)
    whole, part = (head.Head(model, np.ones(5)) for _ in range(2))
    rows = whole.marks
    part.focus(rows)
    weights = np.random.default_rng(0).uniform(0, 0.5, (3, len(NAMES)))
    for a, b in zip(whole.offsets(weights), part.offsets(weights)):
        one, two = whole.posed(a, (0.5, 0.2), 1.0), part.posed(b, (0.5, 0.2), 1.0)
        np.testing.assert_allclose(one.points[rows], two.points[rows], atol=1e-5)
        np.testing.assert_allclose(one.normals[rows], two.normals[rows], atol=1e-4)


def test_normals_of_a_sphere_point_outwards(stub):
    one, _ = bare_head(stub)
    rows = np.unique(one.topology.triangles["face"])
    facing = one.rest().normals[rows]
    gradient = (one.neutral[rows] - (0, 3.6, 0.4)) / np.array([7.6, 10.8, 10.2]) ** 2
    assert ((facing * gradient).sum(1) / np.linalg.norm(gradient, axis=1) > 0.97).mean() > 0.97


WORN = [
    (field, value)
    for field, values in {
        "hair_style": appearance.HAIR_STYLES,
        "beard": appearance.BEARDS,
        "glasses": appearance.GLASSES,
        "earrings": appearance.EARRINGS,
        "neckline": tuple(clothes.NECKLINES),
    }.items()
    for value in values
]


@pytest.mark.parametrize("field, value", WORN)
def test_everything_worn_is_a_sound_mesh(stub, field, value):
    one, around = bare_head(stub)
    person = replace(appearance.sample_person(np.random.default_rng(3)), **{field: value})
    makers = {
        "hair_style": lambda: hair.hair_pieces(one, around, person) + wear.headwear_pieces(one, around, person),
        "beard": lambda: beard.beard_pieces(one, person),
        "glasses": lambda: wear.glasses_pieces(one, person),
        "earrings": lambda: wear.earring_pieces(one, person),
        "neckline": lambda: clothes.cloth_pieces(one, person),
    }
    pieces = makers[field]()
    assert pieces or value in ("none", "bald", "shadow", "stubble")
    for piece in pieces:
        assert np.isfinite(piece.points).all() and np.isfinite(piece.normals).all() and np.isfinite(piece.uv).all()
        assert piece.triangles.min() >= 0 and piece.triangles.max() < len(piece.points) == len(piece.uv) == len(
            piece.follow
        )
        assert np.abs(piece.points).max() < 2.5, "something floats far from the head"


def test_a_beard_moves_with_the_jaw_and_a_moustache_with_the_lip(real):
    for kind in ("moustache", "full_beard"):
        person = replace(appearance.sample_person(np.random.default_rng(5)), beard=kind, masculine=True)
        with render.portrait(person, real, 64) as one:
            strands = next(piece for piece in one._scene.pieces if piece.anchor is not None)
            mesh = one._scene._meshes[one._scene.pieces.index(strands)]
            places = []
            for opened in (0, 1):
                one.render(expression(open=opened), STILL)
                places.append(mesh._places[:, :3].copy())
        down = (places[1] - places[0])[:, 1]
        upper, chin = (
            one._face(expression(open=1)).points[one.head.marks[[51, 8]], 1]
            - one._face(expression()).points[one.head.marks[[51, 8]], 1]
        )
        found, moved = (np.median(down), upper) if kind == "moustache" else (np.quantile(down, 0.9), chin)
        assert abs(found + one.head.scale * moved) < 0.25 * abs(one.head.scale * chin), (kind, found, moved)


@pytest.mark.parametrize("kind", appearance.BACKDROPS)
def test_backdrops_differ_and_repeat(kind):
    person = replace(appearance.sample_person(np.random.default_rng(1)), backdrop=kind)
    first = backdrop.paint_backdrop(person)
    assert first.dtype == np.uint8 and first.shape[2] == 3 and (first == backdrop.paint_backdrop(person)).all()
    other = backdrop.paint_backdrop(
        replace(person, backdrop=appearance.BACKDROPS[appearance.BACKDROPS.index(kind) - 1])
    )
    assert np.abs(first.astype(int) - other).max() > 10


def test_the_camera_is_the_same_for_the_whole_clip():
    settings = camera.sample_camera(np.random.default_rng(0))
    flat = np.full((64, 64, 3), 120, np.uint8)
    quiet = camera.Camera(replace(settings, noise=0.0), 64, 5)
    assert (quiet.photograph(flat, 0) == quiet.photograph(flat, 1)).all()
    noisy = camera.Camera(replace(settings, noise=4.0, quality=0), 64, 5)
    assert (noisy.photograph(flat, 0) == noisy.photograph(flat, 0)).all() and (
        noisy.photograph(flat, 0) != noisy.photograph(flat, 1)
    ).any()


def test_the_same_request_gives_the_same_bytes(stub):
    person = appearance.sample_person(np.random.default_rng(4))
    pose = np.array([0.2, -0.1, 0.05, 0.01, 0.0])
    pictures = []
    for _ in range(2):
        with render.portrait(person, stub, 48) as one:
            pictures.append(one.render(expression(open=0.6), pose, 3)[0])
    assert pictures[0].tobytes() == pictures[1].tobytes() and pictures[0].shape == (48, 48, 3)


def test_a_clip_is_its_frames(stub):
    one = shown(stub, 4)
    faces, poses = np.stack([expression(open=o) for o in np.linspace(0, 1, 18)]), np.zeros((18, 5))
    frames = list(one.clip(faces, poses, np.zeros((18, len(NAMES)))))
    for number in (0, 17):
        image, truth = one.render(faces[number], poses[number], number)
        assert (image == frames[number][0]).all()
        np.testing.assert_allclose(truth.landmarks, frames[number][1].landmarks, atol=1e-3)


@pytest.mark.parametrize("which", ["stub", "real"])
def test_truth_follows_the_mouth(which, request):
    one = shown(request.getfixturevalue(which), 4)
    gaps = [one.render(expression(open=o), STILL)[1].mouth_open for o in np.linspace(0, 1, 6)]
    assert gaps[0] == pytest.approx(0, abs=1e-6) and (np.diff(gaps) > 0).all() and gaps[-1] > 0.15
    narrow, rest, wide = (one.render(expression(wide=w), STILL)[1].mouth_width for w in (-1, 0, 1))
    assert narrow < rest < wide
    truth = one.render(expression(open=0.7), np.array([0.2, 0.1, 0.1, 0.01, 0.02]))[1]
    assert (truth.lip_box[:2] <= truth.landmarks[48:60].min(0) + 1.5).all() and (
        truth.lip_box[2:] >= truth.landmarks[48:60].max(0) - 1.5
    ).all()


def test_features_lie_where_the_geometry_says(real):
    geometry, model = head_pose.HeadGeometry(), face_model.load_face_model(real)
    for seed in range(6):
        person = appearance.sample_person(np.random.default_rng(seed))
        one = head.Head(model, head.sexed_identity(model, np.asarray(person.identity), person.masculine))
        points = one.placed(one.rest().points)[one.marks]
        marks = scene.on_screen(points, STILL, person.distance)
        np.testing.assert_allclose(marks[36:42].mean(0), geometry.left_eye, atol=0.022)
        np.testing.assert_allclose(marks[42:48].mean(0), geometry.right_eye, atol=0.022)
        np.testing.assert_allclose(marks[48:60].mean(0), geometry.mouth, atol=0.04)
        turned = scene.on_screen(points, np.array([0.3, 0, 0, 0, 0]), person.distance)
        assert turned[30, 0] > marks[30, 0] + 0.03


STANCES = [(0.0, 0.0)] + [
    (a * appearance.STANCE_LIMIT[0], b * appearance.STANCE_LIMIT[1])
    for a, b in ((1, 1), (-1, 1), (1, -1), (-1, -1), (0.5, 0))
]


@pytest.mark.parametrize("stance", STANCES)
def test_heads_that_look_past_the_camera_are_framed_alike(real, stance):
    """By least squares: the middle of eyes and nose exactly, each of them as near as a turned head lets it."""
    geometry = head_pose.HeadGeometry()
    with render.portrait(replace(appearance.sample_person(np.random.default_rng(2)), stance=stance), real, 64) as one:
        marks = one.render(expression(), STILL)[1].landmarks / 64
    eyes, nose = [marks[36:42].mean(0), marks[42:48].mean(0)], marks[30:36].mean(0)
    np.testing.assert_allclose([*eyes, nose], [geometry.left_eye, geometry.right_eye, geometry.nose], atol=0.06)
    np.testing.assert_allclose(
        np.mean([*eyes, nose], 0), np.mean([geometry.left_eye, geometry.right_eye, geometry.nose], 0), atol=1e-3
    )


@pytest.mark.parametrize("stance", STANCES[:3])
def test_landmarks_lie_where_the_picture_shows_them(real, stance):
    """A lid that closes changes the picture around the middle of its eye's landmarks."""
    person = replace(
        appearance.sample_person(np.random.default_rng(5)), hair_style="crop", glasses="none", stance=stance
    )
    pose = np.array([0.1, 0.05, 0.1, 0.03, -0.02])
    with render.portrait(person, real, 128) as one:
        one._camera = camera.Camera(replace(one._camera.settings, noise=0.0, quality=0), 128, 0)
        open_, truth = one.render(expression(), pose)
        for side, rows in (("blink_left", slice(36, 42)), ("blink_right", slice(42, 48))):
            change = np.abs(open_.astype(int) - one.render(expression(**{side: 1}), pose)[0]).sum(-1).astype(float)
            change[change < 0.25 * change.max()] = 0
            seen = (np.argwhere(change > 0)[:, ::-1] + 0.5 * np.ones(2)).T @ change[change > 0] / change.sum()
            np.testing.assert_allclose(seen, truth.landmarks[rows].mean(0), atol=0.03 * 128)


def test_opening_the_mouth_changes_what_the_truth_says(real):
    person = replace(
        appearance.sample_person(np.random.default_rng(5)), hair_style="crop", glasses="none", beard="none"
    )
    with render.portrait(person, real, 128) as one:
        still = replace(one._camera.settings, noise=0.0, quality=0)
        one._camera = camera.Camera(still, 128, 0)
        (shut, _), (wide, truth) = (one.render(expression(open=o), STILL) for o in (0, 1))
        (awake, _), (asleep, _) = (one.render(expression(blink_left=b), STILL) for b in (0, 1))
    changed = np.argwhere(np.abs(shut.astype(int) - wide).max(-1) > 12)[:, ::-1] + 0.5
    box = truth.lip_box
    assert ((changed > box[:2] - 2) & (changed < box[2:] + 2)).all(1).sum() > 100
    assert (changed[:, 1] > truth.landmarks[28, 1]).mean() > 0.97
    lids = np.argwhere(np.abs(awake.astype(int) - asleep).max(-1) > 16)[:, ::-1] + 0.5
    assert len(lids) > 20 and (np.abs(lids - truth.landmarks[36:42].mean(0)) < (16, 14)).all(1).mean() > 0.95


def test_faces_have_no_holes(real):
    import cv2

    for seed in (1, 6):
        person = replace(appearance.sample_person(np.random.default_rng(seed)), backdrop="plain")
        with render.portrait(person, real, 96) as one:
            one._camera = camera.Camera(camera.CameraSettings(1, (1, 1, 1), 1, 1, 0, 0, 0, 0, 0, 0), 96, 0)
            one._scene._backdrop.write(
                np.tile(
                    np.array([255, 0, 255], np.uint8), one._scene._backdrop.size[0] * one._scene._backdrop.size[1]
                ).tobytes()
            )
            one._scene._backdrop.build_mipmaps()
            for face, pose in (
                (expression(open=1), STILL),
                (expression(blink_left=1, blink_right=1, press=1), [0.3, 0.15, 0, 0, 0]),
                (expression(smile=1, teeth=1, wide=1, open=0.3), [-0.3, -0.15, 0, 0, 0]),
                (expression(open=0.5, tongue=1), [0.1, 0, 0, 0, 0]),
            ):
                image, truth = one.render(face, np.asarray(pose, float))
                oval = cv2.convexHull(truth.landmarks[[*range(3, 14), 24, 19]].astype(np.float32))
                mask = np.zeros(image.shape[:2], np.uint8)
                cv2.fillConvexPoly(mask, np.round(oval).astype(int), 1)
                mask = cv2.erode(mask, np.ones((5, 5)))
                pink = (image[..., 0].astype(int) > 200) & (image[..., 2] > 200) & (image[..., 1] < 60) & (mask > 0)
                assert not pink.any(), f"seed {seed}: {pink.sum()} pixels of the backdrop show through the face"


def test_small_movements_stay_small():
    track = blend_shapes.micro_track(np.random.default_rng(0), NAMES, 200, 25.0)
    assert track.shape == (200, len(NAMES)) and track.min() >= 0 and 0.01 < track.max() < 0.4
    assert np.abs(np.diff(track, axis=0)).max() < 0.05


def test_the_contact_sheet_shows_as_many_as_asked(stub):
    assert sheet.contact_sheet(stub, 1, 2, 32).shape == (32, 64, 3)


@pytest.mark.skipif(not speech.available(), reason="no espeak-ng library is installed")
def test_a_corpus_of_people_has_the_format_of_one_of_avatars(tmp_path, stub):
    made = corpus.synthesize(
        tmp_path / "people", 1, seed=3, size=32, seconds=0.4, workers=1, progress=False, face_model=stub
    )
    drawn = corpus.synthesize(tmp_path / "avatars", 1, seed=3, size=32, seconds=0.4, workers=1, progress=False)
    assert made.header["annotations"] == drawn.header["annotations"]
    one = made.clip(0)
    assert one.frames.shape == (10, 32, 32, 3) and made.keys[0].startswith("person-train-3")
    assert one.meta["generator"]["kind"] == "people" and str(stub) not in json.dumps(one.meta)
    again = corpus.make_clip(corpus.Job(3, 32, 0.4, False, str(stub)), 0)
    np.testing.assert_array_equal(one.annotations["landmarks"], again.annotations["landmarks"])
    assert "face_model" not in drawn.meta(0)["generator"]
    with pytest.raises(DiffusedHeadsError, match="made with other"):
        corpus.synthesize(
            tmp_path / "avatars", 1, seed=3, size=32, seconds=0.4, workers=1, progress=False, face_model=stub
        )


def test_a_mood_stays_but_lets_pressed_lips_meet():
    rng, press = np.random.default_rng(0), np.linspace(0, 1, 50)
    tracks = [blend_shapes.mood_track(rng, NAMES, press, 25.0) for _ in range(200)]
    moody = [track for track in tracks if track.any()]
    assert 0.4 < len(moody) / len(tracks) < 0.6
    known = {name: column for column, name in enumerate(NAMES)}
    shapes = {blend_shapes.without_side(name) for name in NAMES}
    assert {shape for mood in blend_shapes.MOODS.values() for shape in mood} <= shapes
    parting = [column for name, column in known.items() if name.startswith(("mouthUpperUp", "mouthLowerDown"))]
    for track in moody:
        assert track.min() >= 0 and track.max() <= 1.4 and np.abs(np.diff(track, axis=0)).max() < 0.1
        assert not track[-1, parting].any() and track[:-1].any(1).all()
