"""Archives become the zip files that Lambda takes."""

import io
import zipfile
from pathlib import Path

from sandbox.resources.assets import Archive, Asset, Bundle, zipped


def unzipped(packed: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_a_zip_file_stays_as_it_is(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("m.py", "x")
    assert zipped(Archive(str(tmp_path / "a.zip"))) == (tmp_path / "a.zip").read_bytes()


def test_a_bundle_of_directories_texts_and_zip_files(tmp_path: Path):
    (tmp_path / "app" / "deep").mkdir(parents=True)
    (tmp_path / "app" / "deep" / "m.py").write_bytes(b"deep")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("lib/", "")
        archive.writestr("lib/n.py", "n")
    archives = {".": Archive(str(tmp_path / "app")), "zipped": Archive(str(tmp_path / "a.zip"))}
    bundle = Bundle({**archives, "text": Asset(b"t"), "in": Bundle({"side": Asset(b"s")})})
    expected = {"deep/m.py": b"deep", "zipped/lib/n.py": b"n", "text": b"t", "in/side": b"s"}
    assert unzipped(zipped(bundle)) == expected
    assert zipped(bundle) == zipped(bundle)
