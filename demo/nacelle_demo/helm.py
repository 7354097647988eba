"""helm with one kubeconfig, from the package that brings its binary."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from nacelle_demo.errors import DemoError

BINARY = Path(sys.executable).parent / "helm"
SECONDS = 300


@dataclass(frozen=True)
class Helm:
    """Runs helm against one cluster; every call has a deadline."""

    kubeconfig: Path

    def run(self, *arguments: str, stdin: str | None = None) -> str:
        """Standard output of one call; DemoError carries helm's own words."""
        command = [str(BINARY), "--kubeconfig", str(self.kubeconfig), *arguments]
        try:
            done = subprocess.run(
                command, input=stdin, capture_output=True, text=True, timeout=SECONDS, check=False
            )
        except FileNotFoundError as error:
            raise DemoError(f"{BINARY} is missing: install the extra `dev`") from error
        except subprocess.TimeoutExpired as error:
            raise DemoError(f"helm {arguments[0]}: not done after {SECONDS} s") from error
        if done.returncode != 0:
            raise DemoError(f"helm {arguments[0]}: {done.stderr.strip()}")
        return done.stdout
