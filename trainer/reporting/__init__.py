"""Writes the results of a run as pages, plots, tables and TensorBoard summaries.

Begin in `evaluation_files`, which chooses the page of a task: `class_page`, `label_page` or `task_page`.
"""
