"""Public data sets by name, prepared for training and evaluation."""

from __future__ import annotations

import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bilevelmorph.errors import fail, one_of
from bilevelmorph.io.json import read_json, write_json
from bilevelmorph.temporary import temporary_folder

_SPLITS = Path(__file__).with_name("splits")


@dataclass(frozen=True)
class RemoteSet:
    """An archive of scans with label maps, in the Decathlon's layout.

    Args:
        url: Address of the archive.
        checksum: ``"md5:..."`` or ``"sha256:..."``.
        splits: JSON file with the splits, which becomes the dataset.json of the folder.

    >>> hippocampus = SETS["hippocampus"]
    >>> read_json(hippocampus.splits, "splits")["labels"]["1"]
    'anterior'
    """

    url: str
    checksum: str
    splits: Path


SETS = {
    "hippocampus": RemoteSet(
        "https://msd-for-monai.s3-us-west-2.amazonaws.com/Task04_Hippocampus.tar",
        "md5:9d24dba78a72977dbd1d2e110310f31b",
        _SPLITS / "hippocampus.json",
    )
}


def fetch(name: str, folder: str | Path, quiet: bool = False) -> dict[str, Any]:
    """Download a data set, verify it, and unpack it with this project's splits.

    The archive stays in the user's cache, so that a second call downloads nothing.

    Args:
        name: One of `SETS`.
        folder: Folder to create; it appears whole or not at all.
        quiet: Suppress the progress bar.

    Returns:
        The content of the dataset.json.

    Raises:
        InputError: The folder is not empty, there is no connection, or the archive has
            the wrong checksum or content.
    """
    source, folder = SETS[one_of("data set", name, SETS)], Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise fail(str(folder), "a file or a folder that is not empty", "a new or empty folder")
    if not folder.absolute().parent.is_dir():
        raise fail(str(folder), f"no folder {folder.parent}", "an existing parent folder")
    archive = _download(source, quiet)
    content = read_json(source.splits, "splits")
    with temporary_folder(".fetching", folder.absolute().parent) as temporary:
        place = temporary / "set"
        _unpack(archive, place, content)
        write_json(place / "dataset.json", content)
        if folder.exists():
            folder.rmdir()
        shutil.move(place, folder)
    return content


def _download(source: RemoteSet, quiet: bool) -> Path:
    import pooch
    import requests

    logger = pooch.get_logger()
    logger.setLevel("ERROR")
    downloader = pooch.HTTPDownloader(progressbar=not quiet, timeout=30)
    name = source.url.rsplit("/", 1)[-1]
    try:
        cache = pooch.os_cache("bilevelmorph")
        return Path(pooch.retrieve(source.url, source.checksum, name, cache, downloader=downloader))
    except ValueError as error:
        raise fail(source.url, "a file of another checksum", source.checksum, "try again later") from error
    except (requests.RequestException, OSError) as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise fail(source.url, f"no whole file ({reason})", "a download", "check the connection") from error


def _unpack(archive: Path, place: Path, content: dict[str, Any]) -> None:
    """Copy only the files that the splits name, whatever paths the archive contains."""
    names = [n for part in ("training", "validation", "test") for n in content[part]]
    wanted = {f"{part}/{n}.nii.gz" for n in names for part in ("imagesTr", "labelsTr")}
    for part in ("imagesTr", "labelsTr"):
        (place / part).mkdir(parents=True)
    found = set()
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                parts = Path(member.name).parts
                if ".." in parts or member.name.startswith("/"):
                    raise fail(str(archive), f"a member {member.name}", "files inside one folder")
                key = "/".join(parts[-2:])
                if key in wanted and member.isfile():
                    stream: Any = tar.extractfile(member)
                    with stream, (place / key).open("wb") as out:
                        shutil.copyfileobj(stream, out)
                    found.add(key)
    except (tarfile.TarError, EOFError) as error:
        raise fail(str(archive), "a broken archive", "a tar file") from error
    missing = sorted(wanted - found)
    if missing:
        raise fail(str(archive), f"no {missing[0]}", f"all {len(wanted)} files of the splits")
