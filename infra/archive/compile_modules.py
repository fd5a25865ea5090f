"""Compiles the Python files of one zip to the bytecode files of another zip.

The builder runs this file with the Python version of Lambda's runtime, so it needs only the standard library:
python -I -S compile_modules.py SOURCES.zip BYTECODE.zip
"""

import importlib.util
import marshal
import sys
import warnings
import zipfile

CODE_DIRECTORY = "/var/task/"
"""The directory of a function's code in Lambda; a code object contains the path of its file."""
UNCHECKED_HASH = (1).to_bytes(4, "little")
"""The flags of PEP 552 for a file that Python loads without looking at its source."""
MARSHAL_VERSION = 2
"""The newest version without references between values. Which values get a reference depends on the process."""


def main(sources: str, bytecode: str) -> None:
    """Compile every module; leave out files that are not valid Python, such as templates."""
    warnings.simplefilter("ignore")  # about the code of others
    with zipfile.ZipFile(sources) as packed, zipfile.ZipFile(bytecode, "w", zipfile.ZIP_STORED) as compiled:
        for name in sorted(packed.namelist()):
            if name.endswith(".py"):
                source = packed.read(name)
                try:
                    code = compile(source, CODE_DIRECTORY + name, "exec", dont_inherit=True, optimize=0)
                except (SyntaxError, ValueError):
                    continue
                header = importlib.util.MAGIC_NUMBER + UNCHECKED_HASH + importlib.util.source_hash(source)
                path = importlib.util.cache_from_source(name, optimization="")
                compiled.writestr(path, header + marshal.dumps(code, MARSHAL_VERSION))


if __name__ == "__main__":
    main(*sys.argv[1:])
