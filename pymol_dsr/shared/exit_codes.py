"""Exit codes of the processes that have PyMOL, by which dsr-backend tells bad input from work that failed."""

WORK_FAILED = 3
