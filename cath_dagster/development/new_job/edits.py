"""Change a Python module as a person would: add what is missing, and leave the rest as it stands."""

import ast
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Module:
    """The text of a module, changed in memory until it is written."""

    path: Path
    text: str
    is_changed: bool = False

    @classmethod
    def read(cls, path: Path) -> "Module":
        return cls(path, path.read_text())

    def append(self, text: str) -> None:
        """Add a block at the end."""
        self._replace(len(self.text.rstrip()), len(self.text), f"\n\n{text.strip()}\n")

    def add_argument(self, variable: str, argument: str) -> None:
        """Add a positional argument to the call by which a variable is made."""
        call = self._call(variable)
        at = self._end(call.args[-1])
        self._replace(at, at, f", {argument}")

    def add_keyword(self, variable: str, keyword: str) -> bool:
        """Add a keyword to the call of `sa.Table` by which a variable is made; return whether it is one."""
        call = self._call(variable)
        if ast.unparse(call.func) != "sa.Table":
            return False
        at = self._end(call) - 1
        before = self.text[:at].rstrip()
        self._replace(len(before), at, f"{'' if before.endswith(',') else ','} {keyword},")
        return True

    def add_entry(self, variable: str, key: str, value: str) -> None:
        """Add an entry to a dictionary, before the first whose key comes after it."""
        found = self._value(variable)
        assert isinstance(found, ast.Dict)  # noqa: S101 - by the type checker every TABLES is one
        later = [each for each in found.keys if isinstance(each, ast.Constant) and str(each.value) > key]
        at = self._start(later[0]) if later else self._end(found) - 1
        self._replace(at, at, f'"{key}": "{value}",\n    ')

    def imports(self, line: str) -> None:
        """Add an import, for the formatter to put in its place."""
        if line not in self.text:
            node = next(node for node in ast.parse(self.text).body if isinstance(node, ast.Import | ast.ImportFrom))
            at = self._start(node)
            self._replace(at, at, f"{line}\n")

    def write(self) -> None:
        self.path.write_text(self.text)

    def _call(self, variable: str) -> ast.Call:
        value = self._value(variable)
        assert isinstance(value, ast.Call)  # noqa: S101 - a table is made by a call
        return value

    def _value(self, variable: str) -> ast.expr:
        for node in ast.parse(self.text).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == variable:
                return node.value
        raise LookupError(f"{self.path} has no {variable} = …")

    def _start(self, node: ast.expr | ast.stmt) -> int:
        return self._place(node.lineno, node.col_offset)

    def _end(self, node: ast.expr | ast.stmt) -> int:
        assert node.end_lineno is not None  # noqa: S101 - of parsed text it is always known
        assert node.end_col_offset is not None  # noqa: S101
        return self._place(node.end_lineno, node.end_col_offset)

    def _place(self, line: int, column: int) -> int:
        """Return a place in the text; the parser counts bytes within a line."""
        lines = self.text.splitlines(keepends=True)
        return sum(map(len, lines[: line - 1])) + len(lines[line - 1].encode()[:column].decode())

    def _replace(self, start: int, end: int, text: str) -> None:
        self.text = self.text[:start] + text + self.text[end:]
        self.is_changed = True
