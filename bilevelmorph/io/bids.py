"""Names of derivatives in the Brain Imaging Data Structure (BIDS)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from bilevelmorph.errors import argument, fail
from bilevelmorph.io.json import write_json

_NAME = re.compile(
    r"(?P<entities>(?:[a-zA-Z]+-[a-zA-Z0-9+]+_)+)(?P<suffix>[a-zA-Z0-9]+)\.(nii|nii\.gz|mgz|npz)"
)

_DATATYPES = ("anat", "func", "dwi", "fmap", "perf", "pet", "micr", "mrs", "meg", "eeg", "ieeg", "nirs")
# Of what is not anatomy.
_OF_SUFFIX = {
    **dict.fromkeys(("bold", "sbref", "cbv", "phase"), "func"),
    **dict.fromkeys(("asl", "m0scan"), "perf"),
    **dict.fromkeys(("epi", "fieldmap", "phasediff", "phase1", "phase2"), "fmap"),
    **dict.fromkeys(("magnitude", "magnitude1", "magnitude2"), "fmap"),
    "dwi": "dwi",
    "pet": "pet",
}


class BidsName(NamedTuple):
    """The parts of a BIDS file name.

    Attributes:
        entities: ``{"sub": "01", "ses": "a", ...}``, in order.
        suffix: For example ``"T1w"``.

    >>> name = BidsName.of("sub-01_T1w.nii.gz")
    >>> name.entities["sub"], name.suffix
    ('01', 'T1w')
    """

    entities: dict[str, str]
    suffix: str

    @classmethod
    def of(cls, path: str | Path) -> BidsName:
        """Parse a file name.

        Raises:
            InputError: The name does not follow BIDS.

        >>> BidsName.of("sub-01/anat/sub-01_ses-a_T1w.nii.gz")
        BidsName(entities={'sub': '01', 'ses': 'a'}, suffix='T1w')
        """
        found = _NAME.fullmatch(Path(path).name)
        if not found:
            raise fail(
                str(path),
                "no BIDS name",
                "one such as sub-01_T1w.nii.gz",
                f"rename it, or omit {argument('bids')}",
            )
        parts = dict(part.split("-", 1) for part in found["entities"].rstrip("_").split("_"))
        return cls(parts, found["suffix"])


def bids_folder(root: str | Path, moving: str | Path) -> Path:
    """Create the folder for derivatives of a scan, such as ``root/sub-01[/ses-a]/anat``.

    The datatype is that of the folder of the scan, otherwise the one of its suffix.

    Raises:
        InputError: The scan's name has no subject.
    """
    entities, suffix = BidsName.of(moving)
    if "sub" not in entities:
        raise fail(str(moving), "a BIDS name without sub-", "one such as sub-01_T1w.nii.gz")
    parts = [f"{key}-{entities[key]}" for key in ("sub", "ses") if key in entities]
    around = Path(moving).absolute().parent.name
    folder = Path(root, *parts, around if around in _DATATYPES else _OF_SUFFIX.get(suffix, "anat"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def space_of(fixed: str | Path) -> str:
    """The name of a fixed image as a BIDS space: letters and digits only.

    A template contributes its name, a scan all its entities, because a subject may have several scans.

    >>> space_of("tpl-MNI152_T1w.nii.gz"), space_of("sub-02_ses-b_T1w.nii.gz"), space_of("my atlas.nii.gz")
    ('MNI152', 'sub02sesbT1w', 'myatlas')
    """
    found = _NAME.fullmatch(Path(fixed).name)
    if found:
        entities = BidsName.of(fixed).entities
        if "tpl" in entities:
            return re.sub(r"\W", "", entities["tpl"])
    return re.sub(r"[^a-zA-Z0-9]", "", Path(fixed).name.split(".")[0]) or "fixed"


def bids_names(moving: str | Path, fixed: str | Path) -> dict[str, str]:
    """Names of the output files of a registration, by kind.

    >>> names = bids_names("sub-01_T1w.nii.gz", "tpl-MNI152_T1w.nii.gz")
    >>> names["moved"], names["transform"]
    ('sub-01_space-MNI152_desc-registered_T1w.nii.gz', 'sub-01_from-T1w_to-MNI152_mode-image_xfm.h5')
    """
    name, space = BidsName.of(moving), space_of(fixed)
    base = "_".join(f"{k}-{v}" for k, v in name.entities.items() if k not in ("space", "desc"))
    there = f"{base}_space-{space}"
    return {
        "moved": f"{there}_desc-registered_{name.suffix}.nii.gz",
        "moved_seg": f"{there}_dseg.nii.gz",
        "jacobian": f"{there}_desc-jacobian_{name.suffix}.nii.gz",
        "uncertainty": f"{there}_desc-uncertainty_{name.suffix}.nii.gz",
        "figure": f"{there}_desc-registered_{name.suffix}.png",
        "warp": f"{base}_from-{name.suffix}_to-{space}_mode-image_xfm.nii.gz",
        "inverse_warp": f"{base}_from-{space}_to-{name.suffix}_mode-image_xfm.nii.gz",
        "affine_file": f"{base}_from-{name.suffix}_to-{space}_mode-image_desc-affine_xfm.txt",
        "transform": f"{base}_from-{name.suffix}_to-{space}_mode-image_xfm.h5",
        "inverse_transform": f"{base}_from-{space}_to-{name.suffix}_mode-image_xfm.h5",
        "report": f"{there}_desc-registered_{name.suffix}.json",
    }


def describe_dataset(root: str | Path, version: str) -> None:
    """Write ``dataset_description.json`` if there is none."""
    path = Path(root, "dataset_description.json")
    if not path.exists():
        made = [{"Name": "bilevelmorph", "Version": version}]
        content = {"Name": "Registrations", "BIDSVersion": "1.9.0", "DatasetType": "derivative"}
        write_json(path, content | {"GeneratedBy": made})
