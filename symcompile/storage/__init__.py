"""What is written to files: `.symc`, recordings, the journal of a search, and the one schema of
equations, regions and figures that manifests and ONNX metadata share with them. Files are read with
distrust. May import every room before it in the order of DESIGN: `expressions` to `aten`.

`files` opens and writes them, `reading` names what is wrong in one, `codecs` says how values stand
in JSON; `equations`, `rows`, `onnx_rows` and `outcomes` are the schema, `older` its former forms.
"""
