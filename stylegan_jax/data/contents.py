"""What a folder or zip contains as a data set: one rule for training, metrics and the data set tool.

- Names are relative, with `/`: backslashes become `/`, `./` is dropped, accents take their composed form.
- Files in hidden folders (any part of the name begins with a dot) and in system folders are skipped.
- A file is a picture if its first bytes or its suffix say so, unless an editor or a download left it behind.
- Video files are not pictures: the data set tool turns them into frames.
- Of several zip members with the same name, the last is used, as by unzip; if their contents differ, a note says so.
- Everything that is skipped is counted.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import os
import re
import unicodedata
from collections.abc import Callable, Hashable, Sequence

from stylegan_jax.base.errors import printable
from stylegan_jax.data import images

JSON_NAME = "dataset.json"
META_NAME = "meta.json"
SYSTEM_FOLDERS = (
    "__macosx", "@eadir", "$recycle.bin", "recycler", "system volume information", "lost+found", "#recycle",
    "@recycle", "#snapshot", "__pycache__",
)  # fmt: skip
"""Folders that operating systems and storage devices create, in lower case."""
LEFTOVERS = (
    "~", ".bak", ".orig", ".old", ".tmp", ".part", ".partial", ".crdownload", ".download", ".swp",
)  # fmt: skip
"""Endings of the names of copies left by editors and of partial files left by downloads."""
VIDEO_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".mpg", ".mpeg", ".mts", ".m2ts", ".wmv", ".flv", ".ogv", ".3gp",
    ".mxf", ".y4m", ".ivf",
)  # fmt: skip
"""Suffixes of video files; for files with other suffixes, the first bytes decide."""
_SHOWN = 5
_STILL_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis", b"crx ", b"M4A ", b"M4B ")
_PLAIN = re.compile(r"[A-Za-z0-9_][\w.-]*(?:/[A-Za-z0-9_][\w.-]*)*", re.ASCII)


@dataclasses.dataclass
class Contents:
    """The files of a folder or zip: those that are used, and those that are not.

    Attributes:
        names: names of the pictures, by the module's rule, sorted.
        numbers: position of each picture in the list that was classified.
        bad: (name, reason) of pictures that are not read.
        folders: names of all folders that are not hidden.
        linked: names of links to folders, which are not followed; they are in `bad`, too.
        jsons: (folder with a final '/', or '' for the root; position in the list) of each dataset.json, the root's
            first.
        hidden: number of files in hidden and system folders, by folder.
        videos: (name, position in the list) of each video file, sorted; they are in `others`, too.
        others: number of files that are not pictures, by suffix.
        repeated: names that several members with different contents have; the last member is used.
    """

    names: list[str] = dataclasses.field(default_factory=list)
    numbers: list[int] = dataclasses.field(default_factory=list)
    bad: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    folders: set[str] = dataclasses.field(default_factory=set)
    linked: list[str] = dataclasses.field(default_factory=list)
    jsons: list[tuple[str, int]] = dataclasses.field(default_factory=list)
    videos: list[tuple[str, int]] = dataclasses.field(default_factory=list)
    hidden: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    others: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    repeated: list[str] = dataclasses.field(default_factory=list)

    def notes(self) -> list[str]:
        """Return a line for each kind of file that was skipped."""
        lines = []
        if self.hidden:
            lines.append(f"skipped: {_count(self.hidden)} below hidden and system folders ({_most(self.hidden)})")
        if self.others:
            lines.append(f"skipped: {_count(self.others)} of other kinds than images ({_most(self.others)})")
        if self.repeated:
            names = ", ".join(printable(name) for name in self.repeated[:_SHOWN])
            more = f" and {len(self.repeated) - _SHOWN} more" if len(self.repeated) > _SHOWN else ""
            lines.append(f"several members with different contents have the same name; the last is used: {names}{more}")
        return lines


def _count(found: collections.Counter[str]) -> str:
    total = found.total()
    return f"{total} file{'s' * (total != 1)}"


def _most(found: collections.Counter[str]) -> str:
    shown = [f"{n} {printable(name)}" for name, n in sorted(found.items(), key=lambda item: (-item[1], item[0]))]
    return ", ".join(shown[:_SHOWN]) + ", …" * (len(shown) > _SHOWN)


def clean_name(name: str) -> str:
    """Return a name by the module's rule; '' if it is empty or leads outside the set."""
    if _PLAIN.fullmatch(name):
        return name
    parts = unicodedata.normalize("NFC", name).replace("\\", "/").split("/")
    if not parts[0] or ".." in parts or re.fullmatch("[A-Za-z]:", parts[0]):
        return ""
    return "/".join(part for part in parts if part not in ("", "."))


def list_contents(
    found: Sequence[str],
    head: Callable[[int], bytes],
    linked: Sequence[str] = (),
    folders: Sequence[str] = (),
    identity: Callable[[int], Hashable] | None = None,
) -> Contents:
    """Classify the files of a folder or the members of a zip by the module's rule.

    Args:
        found: their stored names, relative to the folder or zip.
        head: position in `found` -> the first bytes of that file, b'' if they cannot be read.
        linked: names of links to folders.
        folders: names of folders, at least of the empty ones.
        identity: position in `found` -> a value that is equal for members with equal contents; None for a folder, where
            two files only get the same name if their stored names differ.
    """
    out = Contents()
    pictures: dict[str, int] = {}
    for i, stored in enumerate(found):
        name = clean_name(stored)
        if not name:
            if stored.lower().endswith((*images.SUFFIXES, *images.OTHER_SUFFIXES)):
                out.bad.append((stored, "its name leads outside the set"))
            continue
        if folder := hidden_part(name):
            out.hidden[folder] += 1
            continue
        folder, _, last = name.rpartition("/")
        out.folders.add(folder)
        if last == JSON_NAME:
            known = [place for place in out.jsons if place[0] == (folder and folder + "/")]
            for place in known:  # of several members the last, as unzip does
                out.jsons.remove(place)
            out.jsons.append((folder and folder + "/", i))
            continue
        kind = "" if last == META_NAME else _kind_of(last, lambda i=i: head(i))
        if kind == "picture":
            _add(out, pictures, name, i, identity)
        elif kind == "unread":
            out.bad.append((name, "this format is not read; re-save as PNG"))
        elif kind == "video":
            out.videos.append((name, i))
            out.others[_suffix(last)] += 1
        elif kind:
            out.others[kind] += 1
    out.folders |= {name for name in map(clean_name, folders) if not hidden_part(name)}
    for stored in linked:
        name = clean_name(stored)
        if name and not hidden_part(name):
            out.linked.append(name)
            out.bad.append((name, "a link to a folder, which is not followed; copy it, or use its target"))
    out.names = sorted(pictures)
    out.numbers = [pictures[name] for name in out.names]
    for listed in (out.bad, out.jsons, out.videos):
        listed.sort()
    return out


def pictures_in(folder: str) -> list[str]:
    """Return the stored names of the pictures directly in a folder, by the module's rule, sorted."""
    found = [entry.name for entry in os.scandir(folder) if entry.is_file()]

    def head(i: int) -> bytes:
        with contextlib.suppress(OSError), open(os.path.join(folder, found[i]), "rb") as file:
            return file.read(64)
        return b""

    contents = list_contents(found, head)
    return sorted(found[i] for i in contents.numbers)


def _add(
    out: Contents, pictures: dict[str, int], name: str, i: int, identity: Callable[[int], Hashable] | None
) -> None:
    """Record a picture; of several with the same name, only one."""
    known = pictures.get(name)
    if known is None:
        pictures[name] = i
    elif identity is None:
        out.bad.append((name, "two files have this name, once backslashes count as / and accents are composed"))
    else:
        if identity(known) != identity(i) and name not in out.repeated:
            out.repeated.append(name)
        pictures[name] = i


def hidden_part(name: str) -> str:
    """Return the first part of a name that begins with a dot or is a system folder; '' if there is none."""
    parts = name.split("/")
    return next((part for part in parts if part.startswith(".") or part.lower() in SYSTEM_FOLDERS), "")


def _kind_of(last: str, head: Callable[[], bytes]) -> str:
    """Return 'picture', 'unread' (a picture in an unsupported format), 'video', or the suffix of anything else."""
    lower, suffix = last.lower(), _suffix(last)
    if lower.endswith(LEFTOVERS):
        return "~" if lower.endswith("~") else suffix
    if suffix in images.SUFFIXES:
        return "picture"
    if suffix in VIDEO_SUFFIXES:
        return "video"
    begin = head()
    if suffix not in images.RAW_SUFFIXES and images.begins_like_image(begin):
        return "picture"
    if suffix in images.OTHER_SUFFIXES:
        return "unread"
    return "video" if begins_like_video(begin) else suffix


def _suffix(last: str) -> str:
    return os.path.splitext(last.lower())[1] or "without a suffix"


def begins_like_video(head: bytes) -> bool:
    """Return whether a file that begins with these bytes (16 are enough) is MP4, MOV, WebM, Matroska or AVI."""
    is_iso = head[4:8] == b"ftyp" and head[8:12] not in _STILL_BRANDS
    is_avi = head.startswith(b"RIFF") and head[8:12] == b"AVI "
    return is_iso or is_avi or head.startswith(b"\x1a\x45\xdf\xa3")


def by_subfolder(contents: Contents) -> tuple[dict[str, int], list[str], str]:
    """Return ({name: class number}, class names, the folder that contains the class folders, with a final '/', or '').

    Classes are the top-level folders. If there is only one, which contains nothing but folders, they are the folders
    inside it. Folders without a readable picture count too, so that numbers do not depend on damaged files. Pictures
    outside class folders are skipped.
    """
    prefix, bad = "", [name for name, _ in contents.bad if clean_name(name)]
    while True:
        at = len(prefix)
        below = [name[at:] for name in [*contents.names, *bad] if name.startswith(prefix)]
        classes = {name.split("/")[0] for name in below if "/" in name or prefix + name in contents.linked}
        if len(classes) != 1 or any(name.count("/", at) < 2 for name in contents.names):
            break
        prefix += classes.pop() + "/"
    number = {name: i for i, name in enumerate(sorted(classes))}
    inside = [name for name in contents.names if "/" in name[at:]]
    return {name: number[name[at:].split("/")[0]] for name in inside}, sorted(classes), prefix
