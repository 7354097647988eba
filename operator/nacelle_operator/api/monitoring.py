"""Who is told to read the serving pods' metrics."""

from typing import ClassVar

from nacelle_operator.api.schema import ApiModel, Labels, Rule, no_keys_of_ours


class PodMonitor(ApiModel):
    """A PodMonitor of the Prometheus Operator, named as the resource: every pod's /metrics, and
    those of its Triton server."""

    rules: ClassVar[tuple[Rule, ...]] = (no_keys_of_ours("labels", "monitoring.podMonitor.labels"),)

    labels: Labels = {}
    """Labels of the PodMonitor, such as those that a Prometheus' podMonitorSelector asks for."""


class Monitoring(ApiModel):
    """Who is told to read the pods' metrics."""

    pod_monitor: PodMonitor | None = None
    """Make a PodMonitor; left out: none. A cluster that does not know the kind serves all the same,
    and the condition Monitoring says so."""
