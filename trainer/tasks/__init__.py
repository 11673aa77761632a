"""Says what training, evaluation and export have to know of each kind of task.

`task` is the interface, `kinds` finds the kind of a contract, and each kind is one file: `classes`, `multi_label`,
`regression`. `losses` defines their losses, and `head_problems` fits a last layer without steps. `report` has the parts
of which the result of a kind is shown; `refusal` is for programs that know classes only.
"""
