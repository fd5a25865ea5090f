"""Adds statements and elements to a Python source, and leaves everything else as it is."""

import ast
import io
import textwrap
import tokenize


class Text:
    """A Python source to which parts are added at positions of the source as it was."""

    def __init__(self, text: str) -> None:
        self._lines = list(io.StringIO(text, newline=""))  # splits as Python does, and keeps the ends of lines
        self._newline = "\r\n" if "\r\n" in text else "\n"
        self._additions: list[tuple[int, int, str]] = []  # the line, the character in it, and what comes before it

    def add_statement(self, part: str, after: ast.stmt | None, before: ast.stmt) -> None:
        """Add a statement on lines of its own: below `after`, or above `before` if there is none."""
        if after:
            self._add(after.end_lineno or 0, 0, f"{part}\n")
        else:
            self._add(before.lineno - 1, 0, f"{part}\n\n")

    def add_import(self, tree: ast.Module, module: str, name: str) -> None:
        """Add `from module import name` before the first import of a later module of its package, or below all."""
        package = module.partition(".")[0]
        imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        later = [
            node.lineno - 1
            for node in imports
            if isinstance(node, ast.ImportFrom)
            and (node.module or "").startswith(package)
            and (node.module or "") > module
        ]
        last = imports[-1].end_lineno if imports else 0
        self._add(later[0] if later else last or 0, 0, f"from {module} import {name}\n")

    def add_element(self, elements: ast.List | ast.Tuple, part: str) -> None:
        """Add an element at the end of a list or of a tuple in brackets, on lines of its own if the others are."""
        last = (elements.end_lineno or 1) - 1
        bracket = self._character(last, elements.end_col_offset or 1) - 1
        line, column, token = self._token_before(last, bracket)
        has_comma = token in (",", "[", "(")
        if "\n" not in part and elements.lineno - 1 == last:
            comma = "," if isinstance(elements, ast.Tuple) and not elements.elts else ""
            self._add(last, bracket, f"{'' if has_comma else ','}{' ' if elements.elts else ''}{part}{comma}")
            return
        if not has_comma:
            self._add(line, column, ",")
        margin = self._margin(elements.lineno - 1)
        first = elements.elts[0].lineno - 1 if elements.elts else elements.lineno - 1
        indented = textwrap.indent(part, self._margin(first) if first != elements.lineno - 1 else f"{margin}    ")
        if self._lines[last][:bracket].isspace() or not bracket:
            self._add(last, 0, f"{indented},\n")
        else:
            self._add(last, bracket, f"\n{indented},\n{margin}")

    def result(self) -> str:
        """Return the source with all additions; those at one position follow each other in their order."""
        lines = list(self._lines)
        if lines and not lines[-1].endswith("\n"):
            lines[-1] += self._newline
        lines.append("")
        for line, character, part in sorted(self._additions, key=lambda each: each[:2])[::-1]:
            text = lines[line]
            lines[line] = text[:character] + part.replace("\n", self._newline) + text[character:]
        return "".join(lines)

    def _add(self, line: int, character: int, part: str) -> None:
        self._additions.append((line, character, part))

    def _character(self, line: int, column: int) -> int:
        """Return the position in a line from the one in its UTF-8 form, which `ast` counts."""
        return len(self._lines[line].encode()[:column].decode())

    def _margin(self, line: int) -> str:
        text = self._lines[line]
        return text[: len(text) - len(text.lstrip())]

    def _token_before(self, line: int, character: int) -> tuple[int, int, str]:
        """Return where the last token before a position ends, comments and ends of lines apart, and its text."""
        found = (0, 0, "")
        for token in tokenize.generate_tokens(iter(self._lines).__next__):
            if token.start >= (line + 1, character):
                break
            if token.type not in (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE):
                found = (token.end[0] - 1, token.end[1], token.string)
        return found
