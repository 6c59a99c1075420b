"""Faults, done to whole runs: killed, out of disk, damaged, robbed of their data, out of memory, in company.

``python -m tests.faults --kills 200 --out R`` does them all and writes what came of each as a table; with ``--kills 2
--each 1`` it does a few. Whatever is done, a run goes on to the bytes of a run that nothing befell, or says in one line
which file is at fault; what was logged is neither lost nor evaluated again.
"""
