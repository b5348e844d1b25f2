"""What every package needs: errors, files, logs, texts, paths of results, typed records, provenance.

In: nothing of formsafe. Out: functions and types without knowledge of models or of the study.
Grows: a path of results in `layout.py`; a record that crosses a file in `records.py`.
"""
