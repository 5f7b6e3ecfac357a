"""Fetching from a server on this machine: a good archive, and all that can be wrong with one."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bilevelmorph.cli.main import main
from bilevelmorph.datasets import fetch as module
from bilevelmorph.datasets.decathlon import DecathlonDataset

SPLITS = {
    "name": "Blobs",
    "licence": "CC0",
    "reference": "nobody",
    "labels": {"0": "background", "1": "blob"},
    "training": ["a", "b"],
    "validation": ["c"],
    "test": ["d"],
    "registration_val": [{"moving": "imagesTr/c.nii.gz", "fixed": "imagesTr/a.nii.gz"}],
    "registration_test": [{"moving": "imagesTr/d.nii.gz", "fixed": "imagesTr/c.nii.gz"}],
}


def archive(names="abcd", extra=()):
    """A tar in the Decathlon's layout, with the forks that macOS leaves in such files."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        files = [
            f"Task/{part}/{fork}{n}.nii.gz"
            for part in ("imagesTr", "labelsTr")
            for n in names
            for fork in ("", "._")
        ]
        for name in [*files, "Task/imagesTs/z.nii.gz", *extra]:
            info, content = tarfile.TarInfo(name), name.encode()
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Serve these bytes; a list of what was asked for comes back."""
    servers = []

    def go(content, checksum=None, cut=None):
        asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[:cut])

            def log_message(self, *args):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        splits = tmp_path / "splits.json"
        splits.write_text(json.dumps(SPLITS), encoding="utf-8")
        url = f"http://127.0.0.1:{server.server_port}/blobs.tar"
        known = checksum or "md5:" + hashlib.md5(content).hexdigest()
        monkeypatch.setitem(module.SETS, "blobs", module.RemoteSet(url, known, splits))
        monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "cache")
        return asked

    yield go
    for server in servers:
        server.shutdown()
        server.server_close()


def refused(capsys, tmp_path, message):
    """The command ends with one line and leaves nothing."""
    assert main(["fetch", "blobs", "--out", str(tmp_path / "out"), "--quiet"]) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert "\n" not in said
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".fetching*"))


def test_a_set_is_laid_out_and_kept(serve, tmp_path, capsys):
    asked = serve(archive())
    for name in ("one", "two"):
        assert main(["fetch", "blobs", "--out", str(tmp_path / name), "--quiet"]) == 0
        assert "2 training, 1 validation, 1 test; CC0" in capsys.readouterr().out
        files = sorted(p.relative_to(tmp_path / name).as_posix() for p in (tmp_path / name).rglob("*.*"))
        expected = [f"{part}/{n}.nii.gz" for part in ("imagesTr", "labelsTr") for n in "abcd"]
        assert files == ["dataset.json", *expected]
        folder = DecathlonDataset.open(tmp_path / name)
        assert len(folder.subjects("train")) == 2
        assert [p.fixed.name for p in folder.pairs("test")] == ["c.nii.gz"]
        assert (tmp_path / name / "labelsTr" / "b.nii.gz").read_bytes() == b"Task/labelsTr/b.nii.gz"
    assert len(asked) == 1


def test_another_checksum(serve, tmp_path, capsys):
    serve(archive(), checksum="md5:" + "0" * 32)
    refused(capsys, tmp_path, "a file of another checksum, expected md5:000")


def test_a_connection_that_breaks(serve, tmp_path, capsys):
    serve(archive(), cut=1000)
    refused(capsys, tmp_path, "no whole file")


def test_no_connection(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "cache")
    gone = module.RemoteSet("http://127.0.0.1:1/blobs.tar", "md5:0", tmp_path / "none.json")
    monkeypatch.setitem(module.SETS, "blobs", gone)
    refused(capsys, tmp_path, "no whole file")


@pytest.mark.parametrize("name", ["../../climbs.nii.gz", "Task/imagesTr/../../../a.nii.gz", "/etc/a.nii.gz"])
def test_an_archive_that_climbs_out(serve, tmp_path, capsys, name):
    serve(archive(extra=[name]))
    refused(capsys, tmp_path, "files inside one folder")
    assert not list(tmp_path.rglob("climbs*"))


def test_links_are_not_followed(serve, tmp_path, capsys):
    stream = io.BytesIO(archive("abc"))
    with tarfile.open(fileobj=stream, mode="a") as tar:
        for part in ("imagesTr", "labelsTr"):
            link = tarfile.TarInfo(f"Task/{part}/d.nii.gz")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(link)
    serve(stream.getvalue())
    refused(capsys, tmp_path, "no imagesTr/d.nii.gz")


@pytest.mark.parametrize(
    ("content", "message"), [(archive("abc"), "no imagesTr/d.nii.gz"), (b"x" * 2048, "a broken archive")]
)
def test_archives_that_are_something_else(serve, tmp_path, capsys, content, message):
    serve(content)
    refused(capsys, tmp_path, message)


def test_a_folder_that_is_there(serve, tmp_path, capsys):
    asked = serve(archive())
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("x", encoding="utf-8")
    assert main(["fetch", "blobs", "--out", str(tmp_path / "full")]) == 2
    assert "a new or empty folder" in capsys.readouterr().err
    assert main(["fetch", "knees", "--out", str(tmp_path / "out")]) == 2
    assert "data set: got 'knees'" in capsys.readouterr().err
    assert not asked


def test_the_splits_of_the_sets_are_there_and_apart():
    for name, source in module.SETS.items():
        content = json.loads(source.splits.read_text(encoding="utf-8"))
        parts = [set(content[p]) for p in ("training", "validation", "test")]
        assert not parts[0] & parts[1], name
        assert not parts[2] & (parts[0] | parts[1]), name
        for part, scans in (("registration_val", parts[1]), ("registration_test", parts[2])):
            used = {p[side].split("/")[1].removesuffix(".nii.gz") for p in content[part] for side in p}
            assert used <= scans, (name, part)
