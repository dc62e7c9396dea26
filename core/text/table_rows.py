"""How the page reader writes a row of a table: `label | header: value | header: value`."""

CELL_END = " | "
