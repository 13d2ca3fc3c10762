"""Free Spoken Digit Dataset: ten spoken digits; the domains are the speakers."""

import re
import wave
import zipfile
from pathlib import Path

import numpy as np

from dalib.data.benchmarks.facts import Facts, Reading
from dalib.data.benchmarks.loading import Benchmark
from dalib.data.domain import Domain
from dalib.data.readers.raw_text import ClipSplit

LAYOUT = """
recordings/<digit>_<speaker>_<take>.wav   the repository as cloned: free-spoken-digit-dataset/recordings/; or fsdd/…
or fsdd.npz (or fsdd/fsdd.npz): wave, offsets, y, speaker, index, sr, speakers
"""
PLACES = ("recordings", "free-spoken-digit-dataset/recordings", "fsdd/recordings")
ARCHIVES = ("fsdd.npz", "fsdd/fsdd.npz")
NAME = re.compile(r"(\d)_([A-Za-z]+)_(\d+)\.wav")
RATE, TEST_TAKES = 8000, 5
Clip = tuple[np.ndarray, int, str, int]


def read_fsdd(facts: Facts, data_dir: Path, domains: tuple[str, ...]) -> Reading:
    """Read recordings of every speaker, int16 at 8 kHz, each of its own length; takes 0 to 4 are the test."""
    reading = Reading({}, [])
    archive = next((data_dir / place for place in ARCHIVES if (data_dir / place).is_file()), None)
    folder = next((data_dir / place for place in PLACES if (data_dir / place).is_dir()), None)
    try:
        if folder is not None:
            clips = _recordings(folder, reading.faults)
        elif archive is not None:
            clips = _archived(archive)
        else:
            reading.faults.append(f"no recordings: neither {' nor '.join((*PLACES, *ARCHIVES))} below {data_dir}")
            return reading
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        reading.faults.append(str(error))
        return reading
    # Speakers and takes come from the files' names; unknown speakers would be domains that no manifest checks.
    strangers = sorted({speaker for _, _, speaker, _ in clips} - set(facts.counts))
    reading.faults.extend(f"speaker too many: {name}" for name in strangers)
    for name in domains:
        own = [clip for clip in clips if clip[2] == name]
        if not own:
            reading.faults.append(f"{name}: no recordings of this speaker")
            continue
        # Clips differ in length, so one array holds all of a speaker's, with the place of each.
        sound = np.concatenate([clip[0] for clip in own])
        offsets = np.cumsum([0, *(len(clip[0]) for clip in own)])
        labels = np.array([clip[1] for clip in own], np.int32)
        test = np.array([clip[3] < TEST_TAKES for clip in own])
        parts = {"train": np.flatnonzero(~test), "test": np.flatnonzero(test)}
        splits = {s: ClipSplit(sound, offsets, rows, labels[rows], RATE) for s, rows in parts.items() if len(rows)}
        reading.faults.extend(f"{name}, {split}: no recordings" for split in parts if split not in splits)
        reading.domains[name] = Domain(name, facts.classes[name], splits)
    return reading


def _recordings(folder: Path, faults: list[str]) -> list[Clip]:
    clips = []
    for path in sorted(folder.glob("*.wav")):
        match = NAME.fullmatch(path.name)
        if match is None:
            faults.append(f"{path}: not named <digit>_<speaker>_<take>.wav")
            continue
        try:
            with wave.open(str(path), "rb") as sound:
                form = (sound.getnchannels(), sound.getsampwidth(), sound.getframerate())
                frames = sound.getnframes()
                data = np.frombuffer(sound.readframes(frames), "<i2") if form == (1, 2, RATE) else None
        except (wave.Error, EOFError, OSError) as error:
            faults.append(f"{path}: {error}")
            continue
        # Other rates or channels would be other recordings; a header that promises more samples shows a cut file.
        if data is None or not len(data) or len(data) != frames:
            faults.append(f"{path}: channels, bytes, rate {form} with {frames} samples, expected (1, 2, {RATE}), whole")
            continue
        clips.append((data, int(match[1]), match[2], int(match[3])))
    return clips


def _archived(path: Path) -> list[Clip]:
    with np.load(path, allow_pickle=False) as arrays:
        sound, offsets, rate = arrays["wave"], arrays["offsets"], int(arrays["sr"])
        y, speaker, take = (arrays[key].tolist() for key in ("y", "speaker", "index"))
        names = [str(name) for name in arrays["speakers"]]
    if rate != RATE or not (np.diff(offsets) > 0).all() or offsets[0] != 0 or offsets[-1] != len(sound):
        raise ValueError(f"{path}: rate {rate}, or offsets that do not cover the samples")
    return [
        (sound[a:b], label, names[who], number)
        for a, b, label, who, number in zip(offsets[:-1], offsets[1:], y, speaker, take, strict=True)
    ]


FSDD = Benchmark("fsdd", "fsdd", read_fsdd, LAYOUT)
