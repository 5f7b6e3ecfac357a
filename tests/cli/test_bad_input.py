"""Every mistake ends with status 2, one line that says what is wrong, and no output."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bilevelmorph.cli.main import main

REGISTER = "register --moving {i}/moving.nii.gz --fixed {i}/fixed.nii.gz --moved {o}/moved.nii.gz --model {m}"
WARP = "warp --moving {i}/moving.nii.gz --warp {i}/warp.nii.gz --moved {o}/moved.nii.gz"
POINTS = "warp-points --points {i}/points.csv --warp {i}/warp.nii.gz --moved {o}/moved.csv"
STEP = "train --img-list {i}/list.txt --model-dir {o}/run --epochs 1 --steps-per-epoch 1"
TRAIN = STEP + " --enc 4 --dec 4 4"
PROPAGATION = STEP + " --network propagation --scales 2 --encoder - 4 --matching 4 --regularization 4"
EVALUATE = "evaluate --pairs {i}/pairs.csv --out {o}/scores.csv --model {m}"

# A later flag replaces an earlier one. Command, further arguments, part of the message.
CASES = [
    # Images.
    *[
        (command, f"{flag} {{i}}/{name}", name)
        for command, flags in ((REGISTER, ("--moving", "--fixed")), (WARP, ("--moving",)))
        for flag in flags
        for name in (
            "missing.nii.gz",
            "truncated.nii.gz",
            "four.nii.gz",
            "empty.nii.gz",
            "text.nii",
            "text.keras",
        )
    ],
    *[
        (REGISTER, f"{flag} {{i}}/{name}", name)
        for flag in ("--moving", "--fixed")
        for name in ("nan.nii.gz", "constant.nii.gz")
    ],
    (REGISTER, "--moving {i}/flat.nii.gz", "2-D"),
    (REGISTER, "--moving {i}/flat.nii.gz --fixed {i}/flat.nii.gz", "2-D images for a 3-D model"),
    # What goes with them.
    (REGISTER, "--moving-seg {i}/moving_seg.nii.gz", "--moving-seg and --moved-seg"),
    (REGISTER, "--moved-seg {o}/seg.nii.gz", "--moving-seg and --moved-seg"),
    (REGISTER, "--moving-seg {i}/other_seg.nii.gz --moved-seg {o}/seg.nii.gz", "other_seg.nii.gz"),
    (REGISTER, "--moving-seg {i}/fraction_seg.nii.gz --moved-seg {o}/seg.nii.gz", "fraction_seg.nii.gz"),
    (REGISTER, "--fixed-mask {i}/other_seg.nii.gz", "other_seg.nii.gz"),
    (REGISTER, "--fixed-mask {i}/empty_mask.nii.gz", "empty_mask.nii.gz"),
    (WARP, "--warp {i}/missing.nii.gz", "missing.nii.gz"),
    (WARP, "--warp {i}/truncated.nii.gz", "truncated.nii.gz"),
    (WARP, "--warp {i}/moving.nii.gz", "moving.nii.gz"),
    (WARP, "--warp {i}/nan_warp.nii.gz", "nan_warp.nii.gz"),
    (WARP, "--warp {i}/far_warp.nii.gz", "all lead out of {i}/moving.nii.gz"),
    (WARP, "--warp {i}/small_warp.npz", "4x4x4 voxels without an affine"),
    (WARP, "--warp-format itk", "--warp-format: got itk"),
    (WARP, "--warp {i}/flat_warp.nii.gz", "flat_warp.nii.gz"),
    # Instance optimisation.
    (REGISTER, "--quality good", "--quality"),
    (REGISTER, "--instance-steps 1 2 3", "--instance-steps: got 3 numbers"),
    (REGISTER, "--instance-steps -1", "--instance-steps: got -1"),
    (REGISTER, "--instance-steps 1 --similarity nosuch", "--similarity: got 'nosuch'"),
    (REGISTER, "--settings {i}/missing.json", "missing.json"),
    (REGISTER, "--settings {i}/points.csv", "points.csv"),
    # Models and devices.
    (REGISTER, "--model nosuch", "nosuch"),
    (REGISTER, "--model {i}/missing.keras", "missing.keras"),
    (REGISTER, "--model {i}/text.keras", "text.keras"),
    *[
        (command, f"{{i}}/{name}", name)
        for command in (REGISTER + " --model", "export --out {o}/served --model")
        for name in ("dense.keras", "code.keras", "half.keras", "binary.h5", "other.weights.h5")
    ],
    (EVALUATE, "--model nosuch", "nosuch"),
    ("models nosuch", "", "models"),
    (REGISTER, "--gpu 7", "--gpu"),
    (REGISTER, "--gpu first", "--gpu"),
    # OutputPaths.
    *[
        (
            REGISTER,
            f"--moving-seg {{i}}/moving_seg.nii.gz --moved-seg {{o}}/seg.nii {flag} {{o}}/{name}",
            flag,
        )
        for flag in ("--moved", "--moved-seg", "--warp", "--inverse-warp", "--figure")
        for name in ("out.jpg", "out.mgz", "out", "no/out.png" if flag == "--figure" else "no/out.nii.gz")
    ],
    (REGISTER, "--warp {o}/moved.nii.gz", "--warp: got {o}/moved.nii.gz, which is that of --moved as well"),
    (REGISTER, "--moved {i}/fixed.nii.gz", "--moved: got {i}/fixed.nii.gz, which is an input as well"),
    (WARP, "--moved {i}/moving.nii.gz", "--moved: got {i}/moving.nii.gz, which is an input as well"),
    (WARP, "--moving {i}/nan.nii.gz", "1 NaN or infinite voxels"),
    (REGISTER, "--exclude-mask {i}/other_seg.nii.gz", "other_seg.nii.gz"),
    (REGISTER, "--moving-mask {i}/empty_mask.nii.gz", "empty_mask.nii.gz"),
    (WARP, "--moved {o}/moved.png", "moved.png"),
    (WARP, "--moved {o}/no/moved.nii", "make it first"),
    (POINTS, "--moved {o}/no/moved.csv", "make it first"),
    (EVALUATE, "--out {o}/no/scores.csv", "make {o}/no first"),
    (EVALUATE, "--out {o}/scores.txt", ".csv"),
    (EVALUATE, "--save-moved {i}/mask.nii.gz", "mask.nii.gz"),
    (TRAIN, "--model-dir {i}/list.txt", "list.txt"),
    ("demo --out {i}/list.txt", "", "list.txt"),
    # Points.
    (POINTS, "--points {i}/missing.csv", "missing.csv"),
    (POINTS, "--points {i}/binary", "binary"),
    (POINTS, "--points {i}/empty.nii.gz", "empty.nii.gz"),
    (POINTS, "--points {i}/no_header.csv", "no_header.csv, line 1"),
    (POINTS, "--points {i}/no_rows.csv", "no_rows.csv"),
    (POINTS, "--points {i}/word.csv", "word.csv, line 3: got 'two'"),
    (POINTS, "--points {i}/infinite.csv", "infinite.csv, line 2"),
    (POINTS, "--points {i}/short.csv", "short.csv, line 2"),
    (POINTS, "--points {i}/long.csv", "long.csv"),
    (POINTS, "--warp {i}/moving.nii.gz", "moving.nii.gz"),
    # Lists and folders.
    *[
        (TRAIN, f"--img-list {{i}}/{name}", part)
        for name, part in {
            "missing.txt": "missing.txt",
            "broken.txt": "broken.txt, line 3",
            "binary": "binary",
            "one.txt": "at least 2",
            "four.txt": "four.nii.gz",
            "no_header.csv": "no_header.csv, line 1",
        }.items()
    ],
    *[
        (EVALUATE, f"--pairs {{i}}/{name}", part)
        for name, part in {
            "missing.csv": "missing.csv",
            "list.txt": "list.txt: got single names",
            "binary": "binary",
            "unlabelled.csv": "no label map",
            "mismatch.csv": "other_seg.nii.gz",
            "nan.csv": "nan.nii.gz",
        }.items()
    ],
    ("register", "", "--moving: got nothing"),
    (REGISTER, "--workers 4", "--workers: got one pair"),
    (REGISTER, "--scheduler tcp://127.0.0.1:9", "--scheduler: got one pair"),
    (REGISTER, "--out {i}/list.txt", "--out: got the file {i}/list.txt"),
    ("export --format onnx --out {i}/list.txt", "", "list.txt"),
    ("export --format stablehlo --out {o}/no/a.stablehlo", "", "make {o}/no first"),
    ("export --format onnx --out {i}/there.onnx", "", "there.onnx, which is there"),
    ("export --format stablehlo --out {i}/there.stablehlo", "", "there.stablehlo, which is there"),
    ("register --moving {i}/moving.nii.gz --fixed {i}/fixed.nii.gz", "", "--moved: got nothing"),
    ("evaluate --data {i}/lost --out {o}/scores.csv", "", "registration_val"),
    ("evaluate --out {o}/scores.csv", "", "neither --data nor --pairs"),
    (EVALUATE, "--data {i}/lost", "both --data and --pairs"),
    (EVALUATE, "--limit -1", "--limit"),
    ("train --model-dir {o}/run", "", "0 sources"),
    (TRAIN, "--synthetic", "2 sources"),
    (TRAIN, "--data {i}/lost", "2 sources"),
    ("train --data {i} --model-dir {o}/run", "", "dataset.json"),
    ("train --data {i}/broken --model-dir {o}/run", "", "broken JSON"),
    ("train --data {i}/lost --model-dir {o}/run", "", "s1.nii.gz"),
    (TRAIN, "--atlas {i}/missing.nii.gz", "missing.nii.gz"),
    (TRAIN, "--load-weights {i}/missing.keras", "--load-weights"),
    (TRAIN, "--load-weights {i}/text.keras", "text.keras"),
    (TRAIN, "--load-weights {i}/binary.h5", "binary.h5"),
    (TRAIN, "--load-weights {m}", "weights of another network"),
    # Values.
    *[
        (TRAIN, f"--{flag} {value}", f"--{flag}")
        for flag, value in [
            ("epochs", -1),
            ("epochs", 0),
            ("steps-per-epoch", 0),
            ("batch-size", 0),
            ("val-every", 0),
            ("initial-epoch", -1),
            ("threads", -1),
            ("lr", 0),
            ("lr", -1),
            ("lr", "nan"),
            ("lr", "inf"),
            ("lambda", -1),
            ("gpu", 7),
        ]
    ],
    *[
        (TRAIN, f"--{flag} {value}", part)
        for flag, value, part in [
            ("seed", -1, "seed"),
            ("shape", "16 16", "2-D"),
            ("shape", "0 16 16", "shape"),
            ("shape", "-16 16 16", "shape"),
            ("percentiles", "-5 105", "percentiles"),
            ("percentiles", "99 1", "percentiles"),
            ("int-steps", -1, "int"),
            ("int-downsize", 0, "int"),
            ("enc", "0 4", "enc"),
            ("enc", "-4 4", "enc"),
            ("clip-norm", -1, "clip"),
            ("augment-affine", -1, "augment"),
            ("augment-intensity", "nan", "augment"),
            ("folding-weight", -1, "folding"),
            ("legacy-image-sigma", 0, "sigma"),
            ("image-loss ncc --window", 0, "got 0"),
            ("image-loss", "l7", "--image-loss: got 'l7', expected one of mse, ncc"),
            ("image-loss", "no.such:Loss", "No module named 'no'"),
            ("image-loss", "math:nothing", "no attribute 'nothing'"),
            ("regularity", "curl", "--regularity: got 'curl'"),
            ("network", "transformer", "--network: got 'transformer', expected one of vxm, propagation"),
            ("network", "math:pi", "a subclass of bilevelmorph.networks.RegistrationNetwork"),
            ("network", "propagation", "--enc: got a value for network propagation"),
            ("stage-weights", 0.5, "--stage-weights: got a weight of similarity_2 for a VxmDense"),
            ("scales", "8 4", "--scales: got a value for network vxm"),
            ("probabilistic", "", "--probabilistic: got a value for network vxm"),
            ("alternate", 2, "--alternate: got VxmDense"),
        ]
    ],
    *[
        (PROPAGATION, f"--{flag} {value}", part)
        for flag, value, part in [
            ("scales", 3, "scales"),
            ("scales", "1 2", "scales"),
            ("scales", 8, "encoder"),
            ("radius", -1, "radius"),
            ("radius", "1 1", "radius"),
            ("matching", 0, "matching"),
            ("regularization", -2, "regularization"),
            ("stage-weights", -1, "similarity_2"),
            ("int-steps", -1, "int"),
            ("use-probs", "", "--use-probs: got a value for network propagation"),
            ("stage-weights", "0.5 0.5", "--stage-weights: got a weight of similarity_4"),
        ]
    ],
]
USAGE = [
    (REGISTER + " --affine similarity", "similarity"),
    (REGISTER + " --init middle", "middle"),
    (REGISTER + " --start middle", "middle"),
    (REGISTER + " --affin rigid", "--affin"),
    (WARP + " --kind picture", "picture"),
    (WARP + " --interp cubic", "cubic"),
    (POINTS + " --space mni", "mni"),
    (TRAIN + " --epochs many", "many"),
    (TRAIN + " --encoder 16,x", "16,x"),
    (TRAIN + " --lr-schedule linear", "linear"),
    (EVALUATE + " --split train", "train"),
    (EVALUATE + " --method magic", "magic"),
    ("models one two", "two"),
    ("demo --seed x", "x"),
]


def attempt(line, inputs, tiny_model, out, capsys):
    """Run a command line in this process: status, name of the program, lines of stderr, stdout."""
    arguments = line.format(i=inputs, o=out, m=tiny_model).split()
    try:
        status = main(arguments)
    except SystemExit as end:
        status = end.code
    said = capsys.readouterr()
    assert "Traceback" not in said.out + said.err
    return status, f"bilevelmorph {arguments[0]}: error: ", said.err.splitlines(), said.out


def name_of(case):
    return f"{case[0].split()[0]} {case[1]}".replace("{i}/", "").replace("{o}/", "").replace("{m}", "tiny")


@pytest.mark.parametrize(("command", "more", "part"), CASES, ids=map(name_of, CASES))
def test_mistake_in_the_data(tmp_path, inputs, tiny_model, capsys, command, more, part):
    before = sorted(inputs.rglob("*"))
    status, start, lines, out = attempt(f"{command} {more}", inputs, tiny_model, tmp_path, capsys)
    assert status == 2
    assert len(lines) == 1
    assert lines[0].startswith(start)
    assert part.format(o=tmp_path, i=inputs) in lines[0]
    assert out == ""
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []
    assert sorted(inputs.rglob("*")) == before


@pytest.mark.parametrize(("line", "part"), USAGE, ids=lambda x: x.rsplit("/", 1)[-1])
def test_mistake_in_the_flags(tmp_path, inputs, tiny_model, capsys, line, part):
    status, start, lines, out = attempt(line, inputs, tiny_model, tmp_path, capsys)
    assert status == 2
    # A former flag says what it is called now.
    assert [text for text in lines if " is called " not in text] == lines[-1:]
    assert lines[-1].startswith(start)
    assert lines[-1].endswith("--help")
    assert part in lines[-1]
    assert out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["nosuch"], ["--nosuch"], ["registr", "--help"]])
def test_unknown_command(capsys, arguments):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("bilevelmorph: error: ")


def test_a_failed_run_keeps_the_old_output(tmp_path, inputs, tiny_model, capsys):
    old = tmp_path / "moved.nii.gz"
    old.write_text("old", encoding="utf-8")
    line = f"{REGISTER} --fixed-mask {{i}}/other_seg.nii.gz"
    assert attempt(line, inputs, tiny_model, tmp_path, capsys)[0] == 2
    assert [p.name for p in tmp_path.iterdir()] == ["moved.nii.gz"]
    assert old.read_text(encoding="utf-8") == "old"


def test_as_a_process(tmp_path):
    """What the shell sees, TensorFlow's and nibabel's own output included."""
    line = f"--moving {tmp_path}/no.nii --fixed {tmp_path}/no.nii --moved {tmp_path}/a.nii"
    command = [sys.executable, "-m", "bilevelmorph.cli.main", "register", *line.split()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        f"bilevelmorph register: error: {tmp_path}/no.nii: got no such file, expected an image file"
    ]
