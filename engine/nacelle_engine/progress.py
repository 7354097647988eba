"""Progress of a build as JSON lines: what a Job prints and the operator reads back."""

from pydantic import Field, ValidationError

from nacelle_engine.frozen import Frozen


class Progress(Frozen):
    """One line: the stage at work, the whole build's percent done, a sentence for people."""

    stage: str = Field(max_length=32)
    percent: int = Field(ge=0, le=100)
    message: str = Field(default="", max_length=256)

    def line(self) -> str:
        """The JSON line, without its newline."""
        return self.model_dump_json(by_alias=True)


def last_progress(log: str) -> Progress | None:
    """The newest progress line in a log's tail; other lines are passed over."""
    for line in reversed(log.splitlines()):
        if line.startswith("{"):
            try:
                return Progress.model_validate_json(line)
            except ValidationError:
                continue
    return None
