"""Fetches a model by its name into a folder: a hub model, or the built-in demo model."""

from pathlib import Path

from nacelle_builder.fetch import demo_model
from nacelle_builder.fetch.placing import place
from nacelle_builder.fetch.sums import write_sums
from nacelle_builder.settings import HubAccess
from nacelle_builder.source.hub import HubModel, download


def fetch(reference: str, destination: Path, access: HubAccess) -> bool:
    """Make the model a whole checkpoint at `destination`; False when it was there already."""
    if reference == demo_model.NAME:
        return place(destination, demo_model.SOURCE, demo_model.fill)
    model = HubModel.parse(reference)

    def fill(folder: Path) -> None:
        download(model, folder, access)
        write_sums(folder, reference)

    return place(destination, reference, fill)
