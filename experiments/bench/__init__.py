"""Measuring moprune against other ways to do the same work, and against what the machine can do.

* :mod:`heads`, :mod:`weights`, :mod:`selection`, :mod:`ood`, :mod:`attribution`: a kind of evaluation each;
* :mod:`suite`: all of them at small sizes; :mod:`scaling`: one of them along one axis; :mod:`strategies`: head shapes;
* :mod:`rows`, :mod:`report`, :mod:`pictures`, :mod:`baseline`: what is measured, written, drawn and compared;
* :mod:`memory`, :mod:`slimming`: commands of their own.

Timings depend on the machine. Ratios are taken within a round, in which all ways run in turns, so that a machine that
changes speed hits all of them.
"""
