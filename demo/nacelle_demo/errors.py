"""What can stop the demo, each with one sentence that says what to do."""


class DemoError(Exception):
    """A step that did not end well; its text is all a person needs."""
