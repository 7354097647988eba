"""The mark of what was applied: of the same the same, of anything else another."""

import pytest

from nacelle_operator.objects.applied import marked

SERVICE = {
    "kind": "Service",
    "metadata": {"name": "s", "annotations": {"a": "1"}},
    "spec": {"ports": [{"port": 80}]},
}


def mark(manifest):
    return marked(manifest)["metadata"]["annotations"]["nacelle.dev/applied"]


def test_the_mark_stands_beside_the_other_annotations_and_changes_nothing_else():
    made = marked(SERVICE)
    assert made["metadata"]["annotations"] == {"a": "1", "nacelle.dev/applied": mark(SERVICE)}
    assert {**made, "metadata": SERVICE["metadata"]} == SERVICE
    assert len(mark(SERVICE)) == 32


@pytest.mark.parametrize(
    "other",
    [
        {**SERVICE, "spec": {"ports": [{"port": 80, "name": "http"}]}},
        {**SERVICE, "spec": {}},
        {**SERVICE, "metadata": {"name": "s"}},
    ],
)
def test_another_object_has_another_mark(other):
    assert mark(other) != mark(SERVICE)


def test_the_order_of_fields_makes_no_other_mark():
    turned = {name: SERVICE[name] for name in reversed(SERVICE)}
    assert mark(turned) == mark(SERVICE)
