"""What pyproject.toml cannot say: a long description without relative links, and where the packages are."""

import re
from pathlib import Path

from setuptools import find_packages, setup

# Where the project is published, such as "https://github.com/owner/xsbert"; None as long as that is not known.
REPOSITORY: str | None = None

LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|#)([^)]+)\)")


def long_description(readme: str, repository: str | None) -> str:
    """The README as a package index can show it: relative pictures and links are made absolute, or left out."""

    def linked(match: re.Match[str]) -> str:
        picture, text, path = match.groups()
        if repository is None:
            return "" if picture else text
        return f"{picture}[{text}]({repository}/{'raw' if picture else 'blob'}/main/{path})"

    return LINK.sub(linked, readme)


if __name__ == "__main__":
    setup(
        long_description=long_description(Path("README.md").read_text(encoding="utf-8"), REPOSITORY),
        long_description_content_type="text/markdown",
        packages=find_packages(include=["xsbert", "xsbert.*"]),
        # Lets an editable install be a plain path, which editors and type checkers follow.
        package_dir={"": "."},
        package_data={
            "xsbert": ["py.typed", "data/*.json"],
            "xsbert.app": ["page/*"],
            "xsbert.view.html": ["page/*", "pair/*", "ranking/*"],
            "xsbert.view.schemas": ["*.json"],
        },
    )
