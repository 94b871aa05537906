"""The command line: `main` finds the verbs, and there is one file for each verb.

Verbs parse arguments and print; all work is done by the public names of kist. A verb is imported
when it is called, and NumPy when it opens a store. Exit codes: 0 all is well, 1 damage or a
difference was found, 2 wrong usage or not a store, 3 the file cannot be read or is locked.
"""
