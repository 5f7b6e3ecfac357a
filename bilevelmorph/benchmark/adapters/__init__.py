"""One file for each method of the benchmark; each runs in an environment of its own.

An adapter imports what it needs within its functions, and nothing of this package but its
own method. It has the constants

- ``PACKAGES``: what pip installs for it;
- ``MODULES``: the modules whose presence says that it is installed;
- ``SETTINGS``: a description of each of its settings, the recommended one first; if it is empty,
  any text is a setting;
- ``WARM_UP``, optional: how many registrations of the first pair are not timed;

and the functions

- ``prepare(case)``: what precedes the registration and is not timed, such as reading files. `case` has
  the attributes ``fixed`` and ``moving``, NIfTI files; ``affine``, whether an affine step is still
  needed; ``setting`` and ``threads``;
- ``register(prepared)``: the registration, which is timed;
- ``save(prepared, result, path)``: writes the displacement that takes points of the fixed image to the
  moving one, to ``path + ".npy"``, voxels of the fixed grid ``[*S, N]``, or to ``path + ".nii.gz"``, as ITK
  writes it.

A method that learns also has the constant ``WEIGHTS``, those that it is trained with, and the function

- ``train(job)``: trains for ``job.seconds`` on ``job.images``, npy files ``[*S]`` of one size, with
  ``job.weight`` and ``job.seed``, and writes a model to `job.out` with an ending of its choice, which `case`
  then has as ``model``.

The labels are then warped by the benchmark, in the same way for all methods.
"""
