"""List published models and where to get them: `stylegan-jax models [WORD ...]`. Nothing is downloaded.

Words select the models whose name, architecture, size or data contain all of them, as in `models stylegan3 256`.
--addresses also prints each model's address and checksum; --check=FILE identifies a file by its checksum, if the owner
publishes one. --features lists the feature networks of the metrics instead.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

from stylegan_jax.base.errors import suggest, visible
from stylegan_jax.base.flags import Parser
from stylegan_jax.convert.published import LICENCES, PUBLISHED, Published

HOW = (
    "Download one yourself, then: stylegan-jax convert --model=FILE.pkl --out=FOLDER; "
    "stylegan-jax sample --model=FOLDER --out=samples"
)


def parser() -> argparse.ArgumentParser:
    """Return the tool's arguments."""
    head, _, rest = (__doc__ or "").partition("\n\n")
    p = Parser(prog="python -m stylegan_jax.tools.models", description=head, epilog=rest)
    p.add_argument("words", nargs="*", metavar="WORD", help="show only models that match all words")
    p.add_argument("--addresses", action="store_true", help="also print each model's address and checksum")
    p.add_argument("--check", metavar="FILE", help="compare the SHA-256 of a file with the known ones")
    p.add_argument(
        "--features", action="store_true", help="list the feature networks of the metrics, with their checksums"
    )
    return p


def matching(words: Sequence[str]) -> list[Published]:
    """Return the models that match all words.

    Raises:
        ValueError: no model matches.
    """
    text = lambda model: " ".join((model.name, model.arch, model.size, model.shown)).lower()
    found = [model for model in PUBLISHED if all(word.lower() in text(model) for word in words)]
    if not found:
        known = {part.lower() for model in PUBLISHED for part in (model.arch, model.size, *model.shown.split())}
        unknown = next((w for w in words if not any(w.lower() in text(m) for m in PUBLISHED)), " ".join(words))
        raise ValueError(f"no published model matches {unknown!r}; {suggest(unknown, sorted(known))}")
    return found


def table(models: Sequence[Published], addresses: bool) -> str:
    """Return the models as a table, with an explanation of the licences."""
    lines = []
    for m in models:
        lines.append(f"{m.name:<62s} {m.arch:<10s} {m.size:<10s} {m.shown:<24s} {m.licence}")
        if addresses:
            lines += [f"    {m.address}", f"    sha256 {m.sha256 or 'not published'}"]
    used = {m.licence for m in models}
    lines += ["", *(f"{name}: {text}" for name, text in LICENCES.items() if name in used), HOW]
    return "\n".join(lines)


def features() -> str:
    """Return the table of the feature networks' weights."""
    from stylegan_jax.features import weights

    lines = [
        f"{name:<20s} {source.file:<48s} sha256 {source.sha256 or 'not published'}\n    {source.origin}"
        for name, sources in weights.SOURCES.items()
        for source in sources
    ]
    return "\n".join([*lines, "", f"The folder of these files: --features_path, or {weights.FOLDER_VARIABLE}"])


def check(path: Path) -> str:
    """Identify a file by its SHA-256; return the text to print."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    found = next((m for m in PUBLISHED if m.sha256 == digest), None)
    if found:
        return f"{path} is {found.name}\nsha256 {digest}"
    alike = next((m for m in PUBLISHED if m.name == path.name), None)
    if alike and alike.sha256:
        return f"warning: {path} is not the published {alike.name}\nsha256 {digest}\n  not  {alike.sha256}"
    return f"{path} matches no published checksum; most owners publish none\nsha256 {digest}"


def act(args: argparse.Namespace) -> str:
    """Return the requested text."""
    if args.check is not None:
        return check(Path(args.check))
    return features() if args.features else table(matching(args.words), args.addresses)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code."""
    args = parser().parse_args(argv)
    try:
        print(act(args))
    except (OSError, ValueError) as error:
        print(f"error: {visible(error)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
