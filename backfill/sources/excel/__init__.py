"""Workbooks: xlsx, xlsm, xls and ods, the cells of one sheet by python-calamine.

workbook (a sheet's rows, and the cells whose values nobody has) -> files (which types its columns have; their batches).
A sheet is held whole, and read twice: types belong to cells, so a column's is known behind its last row.
"""
