"""The command line: everything the page does, without a page and by the thousand.

Results go to standard output, progress and remarks to standard error. Exit codes: 0 all is well,
2 for something the operator can mend (one message, no traceback), 130 after Ctrl-C or SIGTERM.
"""
