"""Makes command line, help text, --config file and checks from a dataclass.

Begin in `config_fields` (how an option is declared); `pipelines/config` and `trainer/config.py` declare the options
of the two programs. This room imports only core, and its import loads neither TensorFlow nor Beam.
"""
