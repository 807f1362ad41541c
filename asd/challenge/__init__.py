"""DCASE 2021 Task 2 itself: downloading its data, writing a submission, the official evaluation.

May import ``data``, ``evaluation``, ``detection`` and ``tracking``.
"""
