"""The history of the appliance: rows, verdicts and events of every line, in one SQLite file.

minute.py    rows <-> one compressed blob a minute, without any loss
schema.py    tables; open, check, set aside
records.py   what is written, as values
writer.py    records -> tables, in one transaction; retention
store.py     the queue, the one worker thread and what becomes of a disk that refuses
reserve.py   room kept for the moment when the disk is full
recorder.py  one line's rows, verdicts and changes -> records
reader.py    read-only: batches, rows, verdicts, events
archive.py   a batch as Parquet, with what it takes to learn from it
report_page.py, report_svg.py  a batch as one HTML page
"""
