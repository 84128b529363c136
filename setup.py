"""Installs alpamayo_ros into a colcon workspace; `colcon build` calls this."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = 'alpamayo_ros'
SHARE = Path('share') / PACKAGE


def version() -> str:
    """The version in the package's __init__.py, read without importing it."""
    text = Path(PACKAGE, '__init__.py').read_text(encoding='utf-8')
    return re.search(r"^__version__ = '([^']+)'$", text, re.MULTILINE).group(1)


def shared(*folders: str) -> list[tuple[str, list[str]]]:
    """Every file under the folders, to be installed under the same path in the share folder."""
    found: dict[str, list[str]] = {}
    for folder in folders:
        for path in sorted(Path(folder).rglob('*')):
            hidden = any(part.startswith(('.', '__pycache__')) for part in path.parts)
            if path.is_file() and not hidden and path != Path('resource', PACKAGE):
                found.setdefault(str(SHARE / path.parent), []).append(str(path))
    return list(found.items())


def optional_scripts() -> list[str]:
    """The executables that need messages of others, where these are there to build with."""
    if find_spec('autoware_internal_planning_msgs') is None:
        return []
    return ['autoware_bridge = alpamayo_ros.ros.autoware_bridge:main']


setup(
    name=PACKAGE,
    version=version(),
    packages=find_packages(include=[PACKAGE, f'{PACKAGE}.*']),
    package_data={'alpamayo_ros.report.templates': ['*.html', '*.css', '*.js']},
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{PACKAGE}']),
        (str(SHARE), ['package.xml', 'LICENSE']),
        *shared('launch', 'config', 'resource'),
    ],
    install_requires=['setuptools'],
    extras_require={'test': ['pytest', 'pytest-timeout']},
    python_requires='>=3.10,<3.13',
    zip_safe=True,
    maintainer='alpamayo_ros maintainers',
    maintainer_email='alpamayo-ros@example.org',
    description='A reasoning driving model on a vehicle computer, as a ROS 2 lifecycle node.',
    license='Apache-2.0',
    entry_points={
        'console_scripts': [
            'planner = alpamayo_ros.cli.planner:main',
            'alpamayo = alpamayo_ros.cli.main:main',
            *optional_scripts(),
        ],
    },
)
