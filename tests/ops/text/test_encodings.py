"""What the commands print where the terminal's encoding lacks their signs."""

import subprocess
import sys

SCRIPT = "from ops.__main__ import main; main(); print('✖ a → b · 漢 …')"


def test_signs_have_substitutes_in_other_encodings():
    printed = {
        encoding: subprocess.run(
            [sys.executable, "-c", SCRIPT], env={"PYTHONIOENCODING": encoding}, capture_output=True, check=True
        ).stdout
        for encoding in ("ascii", "latin-1", "utf-8")
    }
    assert printed == {
        "ascii": b"x a > b | ? ~\n",
        "latin-1": b"x a > b \xb7 ? ~\n",
        "utf-8": "✖ a → b · 漢 …\n".encode(),
    }
