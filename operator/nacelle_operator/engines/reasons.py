"""Every reason that an Engine gives, beside the typed codes of errors that inspection meets."""

from typing import Final

BUILT_HERE: Final = "BuiltHere"
"""Ready: a build of this operator published it."""
VERIFIED: Final = "Verified"
"""Ready: an inspect Job found every digest to match, and the bundle to be what the spec says."""
VERIFYING: Final = "Verifying"
"""An inspect Job is at work, or about to be."""
INSPECTION_LOST: Final = "InspectionLost"
"""The inspect Job ended well and left no result."""
SWEEPING: Final = "Sweeping"
"""Its build is gone and nobody uses it: its folder is being deleted."""
FOLDER_LEFT: Final = "FolderLeft"
"""An event: the folder could not be deleted in time and stays in the store."""
SWEPT: Final = "Swept"
"""An event: the folder is deleted."""
