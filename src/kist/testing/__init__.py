"""What tests of kist, and of backends of your own, are made of.

- `strategies`   hypothesis strategies for dtypes and arrays
- `keys`         `random_key`: indices of n-d arrays, of every kind
- `storage`      `StorageContract`: what every backend must do, as a suite to subclass; of it
  `reading`, for backends that only read
- `range_server` `RangeServer`: files behind http on loopback, with faults
- `recording`    `RecordingBackend`: memory that logs writes, syncs and renames
- `faults`       `FaultyBackend`: fails at the N-th call; the long run on the command line
- `system`       `FaultySystem`: the same for the system calls below `kist.open`; cuts the power
- `trials`       `Stage`: a fault at each call of each step of a workload of `works` (`workload`,
  `column_work`, `linked_work`, `sealed_work`); `memory`: no memory
- `images`       `crash_states`: what a crash may leave of a recorded file
- `folders`      `FolderRecorder`: the same of all files of a folder, with their names
- `crash`        `check_crashes`: opens all of these, and the long run on the command line
- `judging`      what may be shown after a crash
- `programs`     `World`: random programs over all objects, beside a model of NumPy
- `kill`         `run_kills`: kills writers, readers and compactors, and looks at what they leave;
  `kill_programs` and `kill_kinds`: what those do
- `crowd`        `run_crowd`: writers, readers, backups and deaths at once on one store; `batches`:
  what they write
- `hostile`      `run_hostile`: opens files mutated with every checksum made right; made of
  `surgery` (a file taken apart), `bodies` and `mutations` (what is changed), `everything` (all
  that can be asked of a store) and `attack` (one round)
- `corruption`  `judge`: damaged files, read, checked and salvaged; the long run on the command line
- `rotting`     the stores for that, and the damage

Nothing here is imported by kist itself. `strategies` and `storage` need pytest and hypothesis.
"""

from __future__ import annotations
