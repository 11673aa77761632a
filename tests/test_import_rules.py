import json
import os
import subprocess
import sys

CODE = """
import json, sys
import trainer.__main__, trainer.training.train, trainer.evaluation.evaluate, trainer.serving.export
import trainer.models.alignment, trainer.dataset
loaded = {name.split(".")[0] for name in sys.modules}
of_pipelines = sorted(name for name in sys.modules if name.startswith("pipelines."))
print(json.dumps([sorted(loaded & {"apache_beam", "tensorflow_transform", "tf_keras"}), of_pipelines]))
"""


def test_the_trainer_loads_neither_beam_nor_transform():
    # Importing TensorFlow Transform, as other tests do, sets this in the environment.
    env = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    out = subprocess.run([sys.executable, "-c", CODE], env=env, capture_output=True, text=True, check=True).stdout
    heavy, of_pipelines = json.loads(out.splitlines()[-1])
    assert heavy == []
    assert of_pipelines == ["pipelines.contract", "pipelines.fields"]  # fields: what the contract checks itself with
