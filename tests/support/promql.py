"""What a PromQL expression names: metrics, and the labels that it matches or groups each by.

After the grammar in Prometheus' documentation ("Querying basics", "Operators"): a name that no
parenthesis follows and that is no keyword is a metric; labels stand in braces behind it, or in the
parentheses of a grouping.
"""

import re

_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^()]*)\)")
_RANGE = re.compile(r"\[[^\]]*\]")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_SELECTOR = re.compile(r"(?<![\w:.$])([A-Za-z_:][\w:]*)(?![\w:])(?!\s*\()\s*(?:\{([^{}]*)\})?")
_LABEL = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)\s*(?:=~|!~|!=|=)")
_KEYWORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan"}


def metrics_of(expression: str) -> dict[str, set[str]]:
    """Each metric with the labels that are asked of it; those of groupings are asked of all."""
    plain = _RANGE.sub("", _STRING.sub('""', expression))
    grouped = {
        label.strip()
        for labels in _GROUPING.findall(plain)
        for label in labels.split(",")
        if label.strip()
    }
    found: dict[str, set[str]] = {}
    for name, matchers in _SELECTOR.findall(_GROUPING.sub(" ", plain)):
        if name.lower() not in _KEYWORDS:
            found.setdefault(name, set(grouped)).update(_LABEL.findall(matchers))
    return found
