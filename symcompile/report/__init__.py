"""What people read: a report as text, HTML and plain data, and pictures.

It reads outcomes and may import all rooms below it but `passes`.
"""

from symcompile.report.report import Report

__all__ = ["Report"]
