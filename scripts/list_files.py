"""Writes docs/files.md: one line a file of the package, from the first sentence of its docstring.

    python scripts/list_files.py
"""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'alpamayo_ros'
PAGE = ROOT / 'docs' / 'files.md'


def first_sentence(path: Path) -> str:
    """The first paragraph of a module's docstring, on one line."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding='utf-8'))) or ''
    return ' '.join(text.split('\n\n')[0].split()).replace('``', '`').replace('|', '\\|')


def page() -> str:
    """The page's text: a table for each folder of the package."""
    folders: dict[Path, list[Path]] = {}
    for path in sorted(PACKAGE.rglob('*.py')):
        folders.setdefault(path.parent, []).append(path)
    lines = ['# Files', '', 'Written by `scripts/list_files.py` from the docstrings.', '']
    for folder, files in sorted(folders.items()):
        lines += [f'## {folder.relative_to(ROOT)}', '', first_sentence(folder / '__init__.py'), '',
                  '| file | |', '|---|---|']
        lines += [f'| `{path.name}` | {first_sentence(path)} |' for path in files
                  if path.name != '__init__.py']
        lines.append('')
    return '\n'.join(lines)


if __name__ == '__main__':
    PAGE.write_text(page(), encoding='utf-8')
