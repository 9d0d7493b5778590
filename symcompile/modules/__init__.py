"""Modules: how a user's torch module is called, recorded and put back as it was.

What stands here knows regions and their samples, and nothing of the equations in their place. May
import `expressions` and `regression`.
"""
