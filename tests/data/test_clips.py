"""Rendered clips and composed strings: what one frame tells, which way a digit went, which digits are where."""

from __future__ import annotations

import itertools

import pytest
import torch

from striate.data.sources.clips import DIRECTIONS, directions, render_clips
from striate.data.sources.strings import ROWS, compose_strings
from striate.errors import InputError


def digits(count: int = 5, side: int = 6, seed: int = 0) -> torch.Tensor:
    """Pictures of noise, each different, with ink in some columns only."""
    generator = torch.Generator().manual_seed(seed)
    pictures = torch.randint(1, 256, (count, side, side), generator=generator, dtype=torch.uint8)
    for number, picture in enumerate(pictures):
        picture[:, : number % 3] = 0
    return pictures


@pytest.mark.parametrize("ways", [4, 8])
def test_every_clip_moves_as_it_says(ways: int) -> None:
    """Each next frame is the one before, rolled by the speed in the class's direction."""
    clips = render_clips(digits(), 60, frames=5, side=9, ways=ways, seed=1)
    assert clips.frames.shape == (60, 1, 5, 9, 9)
    for clip, way in zip(clips.frames[:, 0], clips.directions.tolist(), strict=True):
        dy, dx = DIRECTIONS[directions(ways)[way]]
        for before, after in itertools.pairwise(clip):
            assert any(torch.equal(after, before.roll((s * dy, s * dx), (0, 1))) for s in (1, 2, 3))
    assert sorted(set(clips.directions.tolist())) == list(range(ways))


def test_one_frame_has_the_same_distribution_in_every_direction() -> None:
    """All starts and speeds written out: at any time the set of frames is the same whichever way it went."""
    side, picture = 5, digits(1, side=3)[0]
    canvas = torch.zeros(side, side, dtype=torch.uint8)
    canvas[:3, :3] = picture
    for time in (0, 3):
        seen = set()
        for dy, dx in DIRECTIONS.values():
            frames = sorted(
                tuple(canvas.roll((y + time * speed * dy, x + time * speed * dx), (0, 1)).flatten().tolist())
                for y in range(side) for x in range(side) for speed in (1, 2, 3)
            )  # fmt: skip
            seen.add(tuple(frames))
        assert len(seen) == 1
    # and the renderer draws starts evenly: brightness of every pixel is the same in each direction, within chance
    clips = render_clips(torch.full((1, 2, 2), 255, dtype=torch.uint8), 8000, frames=2, side=4, ways=4, seed=0)
    for way in range(4):
        mean = (clips.frames[clips.directions == way][:, 0, 1] > 0).float().mean(0)
        assert (mean - 4 / 16).abs().max() < 0.05  # 2,000 draws: a deviation of 0.01


def test_clips_repeat_with_their_seed() -> None:
    one, same, other = (render_clips(digits(), 20, frames=3, side=8, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.frames, same.frames)
    assert not torch.equal(one.frames, other.frames)
    for clip, picture in zip(one.frames[:, 0], digits()[one.pictures], strict=True):
        assert all(torch.equal(frame.flatten().sort()[0][-36:], picture.flatten().sort()[0]) for frame in clip)


def test_clips_that_cannot_be() -> None:
    with pytest.raises(InputError, match="directions of motion: expected 4 or 8, got 6"):
        render_clips(digits(), 1, ways=6)
    with pytest.raises(InputError, match="pictures are larger than a frame: expected at most 5 pixels, got 6x6"):
        render_clips(digits(), 1, side=5)
    with pytest.raises(InputError, match="a single frame shows no motion: expected at least 2 frames, got 1"):
        render_clips(digits(), 1, frames=1)


def test_strings_hold_their_digits_in_order() -> None:
    """The ink of a string, column group by column group, is that of digits with its labels, in order."""
    pictures, labels = digits(12, side=8), torch.arange(12) % 10
    strings, texts = compose_strings(pictures, labels, 30, lengths=(2, 4), seed=3)
    assert strings.shape == (30, 1, ROWS, 4 * 8 + 3 * 2)
    assert {int((row >= 0).sum()) for row in texts} == {2, 3, 4}
    sums = {label: [int(p.sum()) for p in pictures[labels == label]] for label in range(10)}
    for string, text in zip(strings[:, 0], texts.tolist(), strict=True):
        letters = [label for label in text if label >= 0]
        assert text == letters + [-1] * (4 - len(letters))
        possible = {0}
        for label in letters:  # all of the ink is there: no digit was cut off or covered
            possible = {total + ink for total in possible for ink in sums[label]}
        assert int(string.sum()) in possible
        column = 0
        ink = [int(i) for i in string.sum(0).nonzero()[:, 0]]
        column = ink[0]
        for label in letters:  # each next digit's columns, 0 to 2 pixels after the one before
            cuts = [p[:, (p > 0).any(0)] for p in pictures[labels == label]]
            at = [
                (start + cut.shape[1])
                for start in range(column, min(column + 3, string.shape[1]))
                for cut in cuts
                for y in range(ROWS - 8 + 1)
                if start + cut.shape[1] <= string.shape[1]
                and torch.equal(string[y : y + 8, start : start + cut.shape[1]], cut)
            ]
            assert at, f"{label} is not at {column}"
            column = at[0]
        assert column == ink[-1] + 1


def test_strings_repeat_with_their_seed() -> None:
    pictures, labels = digits(), torch.arange(5)
    one, same, other = (compose_strings(pictures, labels, 9, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one[0], same[0])
    assert torch.equal(one[1], same[1])
    assert not torch.equal(one[1], other[1])


def test_strings_that_cannot_be() -> None:
    labels = torch.arange(5)
    with pytest.raises(InputError, match="lengths of strings: expected 1 or more, in order, got 4 to 3"):
        compose_strings(digits(), labels, 1, lengths=(4, 3))
    with pytest.raises(InputError, match="digits do not fit the string: expected at most 32 rows, got 33"):
        compose_strings(digits(side=33), labels, 1)
    empty = digits()
    empty[3] = 0
    with pytest.raises(InputError, match="a picture of a digit is empty: picture 3"):
        compose_strings(empty, labels, 1)
