"""In which line of a document's text a place is, such as `mainSteps[2].inputs.Duration`."""

import re
from typing import Any, Final

import yaml

_PART: Final = re.compile(r"\.?([^.\[\]]+)|\[([0-9]+)\]")


def line_of(text: str, place: str) -> int | None:
    """The line, from 1; that of the nearest place around it where it is not there. None for a text without any."""
    try:
        node: Any = yaml.compose(text.replace("\t", " "), Loader=yaml.CSafeLoader)  # JSON is understood as well
    except (yaml.YAMLError, RecursionError, ValueError):
        return None
    if node is None:
        return None
    line: int = node.start_mark.line
    for found in _PART.finditer(place):
        following = None
        if found[2] is not None and isinstance(node, yaml.SequenceNode):
            parts = node.value
            following = parts[int(found[2])] if int(found[2]) < len(parts) else None
            line = line if following is None else following.start_mark.line
        elif found[1] is not None and isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if getattr(key, "value", None) == found[1]:
                    following, line = value, key.start_mark.line
        if following is None:
            break
        node = following
    return line + 1
