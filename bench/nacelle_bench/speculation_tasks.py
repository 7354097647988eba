"""Questions of real text: some whose answers repeat what is asked, some whose answers do not."""

from typing import Final

_HARBOUR: Final = (
    "The harbour master keeps a ledger of every vessel that enters the port of Almera. For each"
    " one he writes down the name of the vessel, the name of its captain, the hour at which it "
    "passed the lighthouse and the number of crates in its hold. On Monday the Grey Heron "
    "passed the lighthouse at six in the morning with forty crates of oranges. On Tuesday the "
    "Second Wind passed the lighthouse at noon with twelve crates of lamp oil. On Wednesday no "
    "vessel passed the lighthouse, for the fog was so thick that the lamp could not be seen "
    "from the pier."
)
_RELEASE: Final = (
    "Version 2.4 of the backup tool changes how old copies are removed. Until now a copy was "
    "removed when it was older than thirty days. From version 2.4 on a copy is removed only "
    "when it is older than thirty days and at least three newer copies of the same folder have "
    "been verified. The setting keep_days keeps its name and its default of thirty. The new "
    "setting keep_copies says how many newer copies must have been verified; its default is "
    "three. Copies that were made before version 2.0 cannot be verified and are never removed "
    "by the tool."
)
_CODE: Final = (
    "def total_price(items, discount):\n"
    "    total = 0\n"
    "    for item in items:\n"
    "        total = total + item.price * item.count\n"
    "    if discount > 0:\n"
    "        total = total - total * discount / 100\n"
    "    return total\n"
)

# By kind, what a user asks.
TASKS: Final[dict[str, tuple[str, ...]]] = {
    "repeat": (
        f"Repeat the following text word for word.\n\n{_HARBOUR}",
        f"Repeat the following text word for word.\n\n{_RELEASE}",
        f"Copy this function and rename the variable total to amount.\n\n{_CODE}",
        f"Correct the spelling of this text and change nothing else.\n\n{_HARBOUR}",
    ),
    "summarise": (
        f"Summarise the following text in three sentences.\n\n{_HARBOUR}",
        f"Summarise the following text in three sentences.\n\n{_RELEASE}",
        f"Which vessels passed the lighthouse, and when?\n\n{_HARBOUR}",
        f"List the settings that the following text describes.\n\n{_RELEASE}",
    ),
    "free": (
        "Write a short story about a clockmaker who lives on an island.",
        "What should I pack for a week in the mountains in autumn?",
        "Explain how a bicycle stays upright.",
        "Give me three ideas for a birthday party at home.",
    ),
}
