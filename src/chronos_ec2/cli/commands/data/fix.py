"""`data check --fix`: what a check proposes, written into a configuration."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from chronos_ec2.domain.errors import InvalidInput
from chronos_ec2.input_files import shown
from chronos_ec2.job_config.parse import load_config, read_config


def write_settings(config: Path, settings: Sequence[str]) -> None:
    """Set keys of a configuration, such as `data.problems.gaps: fill`. Its comments and its order stay.

    The file is replaced as a whole, or not at all.

    Raises:
        InvalidInput: it cannot be written, or the result would be none of our configurations.
    """
    from ruamel.yaml import YAML  # noqa: PLC0415 - needs the extra `data`
    from ruamel.yaml.util import load_yaml_guess_indent  # noqa: PLC0415

    yaml = YAML()
    yaml.preserve_quotes, yaml.width = True, 1 << 16
    document, indent, offset = load_yaml_guess_indent(read_config(config), yaml=yaml)
    for setting in settings:
        key, _, value = setting.partition(": ")
        *sections, name = key.split(".")
        inner = document
        for section in sections:
            if inner.get(section) is None:
                inner[section] = {}
            inner = inner[section]
        inner[name] = value
    yaml.indent(mapping=indent, sequence=indent, offset=offset)
    target = config.resolve()
    try:
        with TemporaryDirectory(dir=target.parent, prefix=".chronos-ec2-") as folder:
            changed = Path(folder, target.name)
            yaml.dump(document, changed)
            load_config(changed)
            shutil.copymode(target, changed)
            changed.replace(target)
    except OSError as error:
        raise InvalidInput(shown(config), f"cannot be written: {error.strerror}", "write the lines yourself") from error
