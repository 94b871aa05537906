"""Saving what is whole of a broken store into a new one. Begin with `run`.

- `report`: what was lost, and where. `target`: the new file, there when all is in it or not at all.
- `nodes`: the hierarchy out of what is left of it. `rescue`: copying the records of a node.
- `tables`, `arrays`, `keystores`: what these do where records or pages are missing.
- `sealed`: sealed datasets and groups, and what opens them.
- `orphans`: what nobody confirms, into ``lost+found``.
"""
