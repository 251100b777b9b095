"""A bundle on disk: opened and verified, its manifest read and written, packed into a `.tar` and unpacked safely."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from edge_ad.bundle import DIGEST, MANIFEST, SCHEMA_VERSION, CategoryEntry, Graph, Manifest, Plan
from edge_ad.errors import BundleError, BundleUnavailable
from edge_ad.files import atomic_folder, atomic_path, sha256_file, write_text

if TYPE_CHECKING:
    import numpy as np


# no path of ours is nearly as long, and the file system, or a walk through the folders, would give up before
_LONGEST, _LONGEST_NAME = 1024, 255


class Bundle:
    """An opened and verified bundle. Make one with `Bundle.open`; close it, or use it in `with`, when it was a tar."""

    def __init__(self, folder: Path, manifest: Manifest, source: Path, scratch: Path | None = None):
        self.folder = folder
        self.manifest = manifest
        self.source = source
        self._scratch = scratch

    @classmethod
    def open(cls, path: Path | str) -> Bundle:
        """Open a bundle folder or `.tar`, check its schema version and the SHA-256 of every file.

        Raises BundleError with one sentence that names what is wrong: newer schema, a damaged, missing or unlisted
        file, a path that leaves the bundle; BundleUnavailable where nothing is there, or no room to unpack it.
        """
        source = Path(path)
        if source.is_dir():
            return cls(source, verified_manifest(source, source), source)
        if not source.exists():
            raise BundleUnavailable(
                f'there is no bundle at "{source}"; give the folder or .tar that edge-ad export wrote'
            )
        scratch = Path(tempfile.mkdtemp(prefix="edge-ad-bundle-"))
        try:
            folder = unpack(source, scratch)
            return cls(folder, verified_manifest(folder, source), source, scratch)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise

    def close(self) -> None:
        """Remove the temporary folder of a bundle that was opened from a tar. The object is of no use afterwards."""
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None

    def __enter__(self) -> Bundle:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def file(self, relative: str) -> Path:
        """The absolute path of a file the manifest lists; BundleError when it does not list it."""
        if relative not in self.manifest.files:
            raise BundleError(f'"{self.source}" has no file "{relative}" in its manifest; export the bundle again')
        return self.folder / relative

    def array(self, relative: str) -> np.ndarray[Any, Any]:
        """Read a listed `.npy` file, never a pickled one.

        BundleError when it is not a plain array, or not what it was when the bundle was opened: it would then be of
        another bundle than graphs and thresholds are.
        """
        import numpy as np

        path = self.file(relative)
        raw = path.read_bytes() if path.is_file() else b""
        if hashlib.sha256(raw).hexdigest() != self.manifest.files[relative]:
            raise self._changed(relative)
        try:
            array: np.ndarray[Any, Any] = np.load(io.BytesIO(raw), allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise BundleError(f'"{relative}" of "{self.source}" is not a plain .npy array; export it again') from error
        return array

    def check_unchanged(self, paths: Iterable[str]) -> None:
        """BundleError when one of these listed files is not what it was when the bundle was opened."""
        for path in paths:
            file = self.file(path)
            if not file.is_file() or sha256_file(file) != self.manifest.files[path]:
                raise self._changed(path)

    def _changed(self, path: str) -> BundleError:
        return BundleError(f'"{path}" of "{self.source}" has changed since the bundle was opened; start again')

    def graph(self, name: str) -> Graph:
        """The entry of a graph; BundleError naming it when the bundle has none of that name."""
        if name not in self.manifest.graphs:
            raise BundleError(f'"{self.source}" has no graph "{name}"; it has {_listed(self.manifest.graphs)}')
        return self.manifest.graphs[name]

    def graph_digest(self, name: str) -> str | None:
        """SHA-256 of a graph's files, joined by "-"; None where the bundle has no graph of that name."""
        graph = self.manifest.graphs.get(name)
        return None if graph is None else "-".join(self.manifest.files[file] for file in graph.paths)

    def category(self, name: str) -> CategoryEntry:
        """The entry of a category; BundleError listing the known ones when there is none of that name."""
        if name not in self.manifest.categories:
            known = _listed(self.manifest.categories)
            raise BundleError(f'"{self.source}" has no category "{name}"; it has {known}')
        return self.manifest.categories[name]

    def plan(self, name: str | None) -> tuple[str, Plan]:
        """The name and entry of a plan, the default one for None; BundleError listing the known ones."""
        name = name or self.manifest.default_plan
        if name not in self.manifest.plans:
            raise BundleError(f'"{self.source}" has no plan "{name}"; it has {_listed(self.manifest.plans)}')
        return name, self.manifest.plans[name]


def write_manifest(folder: Path, manifest: Manifest) -> Manifest:
    """Hash every file of `folder`, write `manifest.json` and `manifest.sha256`, and return what was written.

    Raises BundleError when the manifest refers to a file that is not there.
    """
    folder = Path(folder)
    files = {path: sha256_file(folder / path) for path in _files_of(folder, folder)}
    for path in manifest.named_files():
        if path not in files:
            raise BundleError(f'the manifest of "{folder}" names "{path}", which is not there')
    written = manifest.model_copy(update={"files": files})
    text = json.dumps(written.model_dump(mode="json", by_alias=True), indent=1, ensure_ascii=False, allow_nan=False)
    write_text(folder / MANIFEST, text + "\n")
    write_text(folder / DIGEST, sha256_file(folder / MANIFEST) + "\n")
    return written


@contextmanager
def replaced(bundle: Path) -> Iterator[Path]:
    """A new folder that takes the place of a bundle, folder or `.tar`, as a whole when the block ends without an error.

    A link stays one. BundleError where what was to become a `.tar` is no sound bundle.
    """
    bundle = Path(os.path.realpath(bundle))
    if bundle.is_dir():
        with atomic_folder(bundle) as folder:
            yield folder
        return
    with tempfile.TemporaryDirectory(prefix=f".{bundle.name}.", dir=bundle.parent) as scratch:
        yield Path(scratch)
        pack(Path(scratch), bundle)


def pack(folder: Path, target: Path) -> Path:
    """Write a bundle folder as one uncompressed `.tar` (its content hardly compresses); verifies it first."""
    folder = Path(folder)
    manifest = verified_manifest(folder, folder)
    with atomic_path(Path(target)) as temporary, tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as tar:
        for relative in [MANIFEST, DIGEST, *sorted(manifest.files)]:
            info = tar.gettarinfo(folder / relative, arcname=relative)
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            with open(folder / relative, "rb") as file:
                tar.addfile(info, file)
    return Path(target)


def unpack(archive: Path, target: Path) -> Path:
    """Extract a bundle's `.tar` below `target` and return the folder that holds its manifest.

    Only plain files and folders with paths below `target` are accepted; BundleError names the first other entry. What
    is unpacked is never larger than the archive: it is not compressed, and sparse files are refused.
    """
    target = Path(target)
    target.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(target).free
    if Path(archive).stat().st_size > free:
        raise BundleUnavailable(
            f'"{archive}" needs more than the {free / 1e6:.0f} MB free at "{target}"; make room there'
        )
    try:
        with tarfile.open(archive, "r:") as tar:
            for entry in tar:
                path = _safe_relative(entry.name, archive)
                if entry.isdir():
                    (target / path).mkdir(parents=True, exist_ok=True)
                    continue
                if not entry.isfile() or entry.issparse():
                    raise BundleError(f'"{archive}" holds "{entry.name}", which is not a plain file; do not trust it')
                stream = tar.extractfile(entry)
                assert stream is not None  # a plain file always has content
                (target / path).parent.mkdir(parents=True, exist_ok=True)
                with open(target / path, "xb") as file:  # x: an entry that is there twice is refused
                    shutil.copyfileobj(stream, file, 1 << 20)
    except (tarfile.TarError, EOFError, ValueError, FileExistsError, NotADirectoryError) as error:
        raise BundleError(f'"{archive}" is not a readable .tar of a bundle; copy it again') from error
    if (target / MANIFEST).exists():
        return target
    inner = [path.parent for path in target.glob(f"*/{MANIFEST}")]
    if len(inner) != 1:
        raise BundleError(f'"{archive}" holds no {MANIFEST}; give the .tar of a bundle')
    return inner[0]


def read_manifest(folder: Path, source: Path | None = None) -> Manifest:
    """Read and check `manifest.json` alone, without hashing the other files. Raises BundleError."""
    source = source or folder
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise BundleError(f'"{source}" is not a bundle: it has no {MANIFEST}; give what edge-ad export wrote')
    raw = path.read_bytes()
    try:
        content = json.loads(raw)
        version = content["schema_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f'"{MANIFEST}" of "{source}" is damaged: it is not a manifest; export again') from error
    if isinstance(version, int) and version > SCHEMA_VERSION:
        made_by = str(content.get("edge_ad_version", "of unknown version"))
        raise BundleError(
            f'"{source}" was made by a newer edge-ad {made_by} (schema {version}, this one reads up to '
            f"{SCHEMA_VERSION}); upgrade edge-ad"
        )
    digest = Path(folder) / DIGEST
    if not digest.is_file():
        raise BundleError(f'"{source}" lacks "{DIGEST}"; copy or export the bundle again')
    if digest.read_text("utf-8", errors="replace").strip() != hashlib.sha256(raw).hexdigest():
        raise BundleError(f'"{MANIFEST}" of "{source}" does not match "{DIGEST}": one is damaged; export or copy again')
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(key) for key in first["loc"]) or "the whole"
        raise BundleError(f'"{MANIFEST}" of "{source}" is wrong at {where}: {first["msg"]}; export again') from error


def verified_manifest(folder: Path, source: Path) -> Manifest:
    """The manifest of `folder` once every check of `Bundle.open` has passed; BundleError names `source` otherwise."""
    manifest = read_manifest(folder, source)
    for path in manifest.files:
        _safe_relative(path, source)
    present = set(_files_of(folder, source))
    if missing := sorted(set(manifest.files) - present):
        raise BundleError(f'"{source}" lacks "{missing[0]}"; copy or export the bundle again')
    if unknown := sorted(present - set(manifest.files)):
        raise BundleError(f'"{source}" holds "{unknown[0]}", which its manifest does not list; remove that file')
    if unlisted := sorted(set(manifest.named_files()) - present):
        raise BundleError(f'"{source}" refers to "{unlisted[0]}", which its manifest does not list; export again')
    with ThreadPoolExecutor() as pool:
        for path, found in zip(manifest.files, pool.map(lambda path: sha256_file(folder / path), manifest.files)):
            if found != manifest.files[path]:
                raise BundleError(
                    f'"{path}" of "{source}" is damaged: its SHA-256 differs from the manifest; copy it again'
                )
    return manifest


def _files_of(folder: Path, source: Path) -> Iterator[str]:
    """Relative POSIX paths of all files below `folder` but the manifest and its digest; links are refused."""
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise BundleError(f'"{source}" holds the link "{relative}"; a bundle has plain files only')
        if path.is_file() and relative not in (MANIFEST, DIGEST):
            yield relative


def _safe_relative(path: str, source: Path) -> PurePosixPath:
    """`path` when it stays below the bundle; BundleError otherwise (absolute, "..", drive or backslash)."""
    pure = PurePosixPath(path)
    if len(path) > _LONGEST or any(len(part.encode()) > _LONGEST_NAME for part in pure.parts):
        raise BundleError(f'"{source}" holds the path "{path[:40]}…", which is too long; do not trust it')
    if pure.is_absolute() or ".." in pure.parts or "\\" in path or ":" in path or not path:
        raise BundleError(f'"{source}" holds the path "{path}", which leaves the bundle; do not trust it')
    return pure


def _listed(names: dict[str, Any]) -> str:
    return ", ".join(sorted(names)) or "none"
