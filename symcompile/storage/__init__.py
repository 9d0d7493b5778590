"""What is written to files: `.symc`, recordings, the journal of a search, and the one schema of
equations, regions and figures that manifests and ONNX metadata share with them. Files are read with
distrust. May import every room before it in the order of DESIGN: `expressions` to `aten`.

| files | hold |
|---|---|
| `artifact`, `recording`, `journal` | what is saved, and `container`, `tensors`: in which bytes |
| `schema`, `onnx_schema`, `equations` | what manifests and ONNX metadata say, member by member |
| `model_rows`, `graph_rows` | what is said there of a model and its graph |
| `outcomes`, `consistency`, `older` | regions of a `.symc`, whether they fit together, of before |
| `verification` | whether a stored graph computes what its model does |
| `files`, `reading`, `codecs` | opening and writing; naming what is wrong; values in JSON |

What a file may ask for is bounded where it is read: bytes and members in `container`, JSON in
`reading` and `codecs`, tensors in `tensors`, equations in `equations` and in
`expressions.size_limits`, counts of what a block has in `consistency`, nodes of a graph in
`aten.signature` and `aten.values`.
"""
