"""Which neurons and which parts of an image matter to a pruned network, and whether the answer means anything.

* :mod:`frequency`: how often the search kept each unit, against chance and against shared ancestry;
* :mod:`randomised`: what keeping a unit does on average, from random masks;
* :mod:`neurons`: importance of each unit of a trained head: conductance, internal influence and ablation;
* :mod:`images`: Grad-CAM maps of a class or of one unit;
* :mod:`faithfulness`: deletion and insertion tests of such maps against controls;
* :mod:`agreement`: whether members agree on units and on maps.
"""
