"""Modules: how a user's torch module is called, recorded and put back as it was.

What stands here knows regions and their samples, and nothing of the equations in their place. May
import `expressions` and `regression`.

`arrays` and `batches` read what users hand in, `calling` runs a model on it and looks into what
comes out, `state` undoes what a run leaves behind, `agreement` compares two models. `resolve` finds
what targets name; a `region` is one such place with its interface, which `interface` reads from the
`arguments` and results of a call, and which `region_call` calls it by. The `recorder` keeps
`samples` of all regions, and `surgery` copies a model with room for their new blocks.
"""
