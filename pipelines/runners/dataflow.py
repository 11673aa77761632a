"""Completes and checks the flags of `--runner DataflowRunner`.

The service needs flags in addition to the runner's name, and some things are checked before a job is sent. `complete`
and `check_paths` import nothing heavy and use no network; `check_buckets` contacts the buckets.
"""

from __future__ import annotations

import functools
import hashlib
import pathlib
import re
import uuid
from collections.abc import Sequence
from typing import Any

from pipelines import storage
from pipelines.core.errors import ConfigError
from pipelines.core.text import first_line
from pipelines.runners.beam_flags import Flags

RUNNER = "DataflowRunner"
ROOT = pathlib.Path(__file__).resolve().parents[2]  # holds setup.py and requirements.txt, if this is the repository
MACHINE = "n2-standard-4"  # the CPU limits decoding; 4 GB per core hold a decoder with an image of --image-memory
DISK_GB = 50  # the unpacked container image takes 10 GB; Dataflow's default, 25 GB, leaves little space
EXPERIMENTS = (
    # One Python process per machine, not one per core, since each process starts a decoder for every core.
    "no_use_multiple_sdk_containers",
    # Do not send the list of the packages installed here, which contains this interpreter's path. Workers compare
    # versions themselves.
    "disable_logging_submission_environment",
)
_NAMES = (
    "project", "region", "temp_location", "staging_location", "job_name", "machine_type|worker_machine_type",
    "disk_size_gb", "number_of_worker_harness_threads", "sdk_container_image|worker_harness_container_image",
    "setup_file", "requirements_file", "requirements_cache", "template_location",
)  # fmt: skip
_LISTS = ("experiments|experiment",)
# https://cloud.google.com/storage/docs/buckets#naming
_BUCKET = re.compile(r"gs://([a-z0-9][-_.a-z0-9]{1,220}[a-z0-9])(/.*)?")
# https://cloud.google.com/resource-manager/docs/creating-managing-projects, and the older DOMAIN:NAME
_PROJECT = re.compile(r"([a-z][-a-z0-9.]*:)?[a-z][-a-z0-9]{4,28}[a-z0-9]")
_REGION = re.compile(r"[a-z]+-[a-z]+[0-9]+")
# [HOST[:PORT]/]PATH:TAG or @sha256:DIGEST, https://github.com/distribution/reference
_IMAGE = re.compile(
    r"[a-z0-9]+([._:-][a-z0-9]+)*(/[a-z0-9]+((\.|_{1,2}|-+)[a-z0-9]+)*)*(:[\w][\w.-]{0,127})?(@sha256:[0-9a-f]{64})?"
)


def complete(flags: Sequence[str], output: str = "") -> list[str]:
    """Returns `flags` and the flags that the service needs in addition.

    Flags that the user gave always stay.

    Args:
      output: the output of the dataset. The job's name is derived from it, so that the service refuses a second job for
        the same output.

    Raises:
      ConfigError: a flag is missing or has an impossible value; the message says what to do.
    """
    given = Flags(flags, _NAMES, _LISTS)
    _check_cloud(given)
    added = given.lacking(
        machine_type=MACHINE,
        disk_size_gb=str(DISK_GB),
        number_of_worker_harness_threads=str(_cores(given["machine_type"] or MACHINE)),
        job_name=job_name(output) if output else None,
    )
    experiments = ",".join(given["experiments"])
    wanted = [name for name in EXPERIMENTS if name.removeprefix("no_") not in experiments]
    # Stages import what they need by name, so that the launching program's main session is not needed.
    added += ["--no_save_main_session", *(f"--experiments={name}" for name in wanted)]
    return [*added, *flags, *_packages(given)]  # where an option is given twice, the last one counts


def job_name(output: str) -> str:
    """Returns the name of the jobs that prepare this output.

    It is the same for each run, and it differs between outputs.
    """
    last = output.rstrip("/").rpartition("/")[2].lower()
    shown = re.sub(r"[^a-z0-9]+", "-", last).strip("-")[:30].strip("-")
    return "-".join(filter(None, ["shardmill", shown, hashlib.sha256(output.encode()).hexdigest()[:8]]))


def page(job_id: str, options: Any) -> str:
    """Returns the address where the service shows a job."""
    from apache_beam.options.pipeline_options import GoogleCloudOptions

    cloud = options.view_as(GoogleCloudOptions)
    return f"https://console.cloud.google.com/dataflow/jobs/{cloud.region}/{job_id}?project={cloud.project}"


def check_paths(source: str, output: str) -> None:
    """Raises ConfigError where the input or the output is not in a bucket."""
    for option, path in (("--input", source), ("--output", output)):
        check_path(option, path)


def check_path(option: str, path: str) -> None:
    """Raises ConfigError where the path of an option is not in a bucket."""
    if not path.startswith("gs://"):
        raise ConfigError(
            f"{option} should be in a bucket, gs://BUCKET/PATH, for --runner {RUNNER}: its workers do not see the "
            f"files of this machine. Received: {path!r}. `gcloud storage cp -r FOLDER gs://BUCKET/` copies them."
        )
    _check_bucket_name(option, path)


def check_buckets(output: str, flags: Sequence[str]) -> None:
    """Writes and deletes a small object in every place that the job will write to.

    `listing.check` checks the input.

    Raises:
      ConfigError: there are no credentials, or a bucket is missing or may not be written to.
    """
    given = Flags(flags, _NAMES)
    if "--no_auth" not in flags:
        _check_credentials()
    for option in ("temp_location", "staging_location"):
        if given[option]:
            _check_writable(f"--{option}", given[option])
    _check_writable("--output", output)


def _check_credentials() -> None:
    """Raises ConfigError where there are no credentials.

    Beam itself retries for half a minute and then continues without credentials.
    """
    import google.auth

    try:
        google.auth.default()
    except google.auth.exceptions.DefaultCredentialsError as e:
        raise ConfigError(
            f"--runner {RUNNER} found no Google credentials ({first_line(e).rstrip('.')}). `gcloud auth "
            "application-default login` gives yours to this machine."
        ) from e


@functools.cache
def _check_writable(option: str, folder: str) -> None:
    probe = storage.join(folder, f"shardmill-probe-{uuid.uuid4().hex}")
    try:
        storage.write_text(probe, "May be deleted.")
        storage.remove(probe)
    except Exception as e:  # each remote client raises its own kinds of error
        raise ConfigError(
            f"{option} {folder} cannot be written to: {_reason(e)} The bucket should exist (`gcloud storage buckets "
            "create gs://BUCKET --location=REGION`), and you and the workers' service account should be allowed to "
            "create and delete objects in it (roles/storage.objectAdmin)."
        ) from e


def _check_cloud(given: Flags) -> None:
    if given["template_location"]:
        raise ConfigError(
            "--template_location cannot be used: `prepare` sends several jobs, which depend on the results of those "
            "before, and publishes at the end. Run the command itself on a schedule."
        )
    _check_form("project", given["project"], _PROJECT, "the ID of the Google Cloud project that pays (no number)")
    region = str(given["region"] or "")
    zone = re.fullmatch(rf"({_REGION.pattern})-[a-z]", region)
    hint = f", which {zone[1]} would be: this is a zone" if zone else ", preferably that of the buckets"
    _check_form("region", given["region"], _REGION, f"a region such as us-central1{hint}")
    if not (given["temp_location"] or given["staging_location"]):
        raise ConfigError(
            f"--runner {RUNNER} needs --temp_location=gs://BUCKET/PATH, for the temporary files of the job."
        )
    for option in ("temp_location", "staging_location"):
        if given[option]:
            _check_bucket_name(f"--{option}", given[option])
    name = given["job_name"]
    if name and not re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", name):
        raise ConfigError(
            "--job_name should have 1 to 63 of the characters a-z, 0-9 and -, and begin with a letter. Received: "
            f"{name!r}"
        )


def _check_form(name: str, value: str | None, form: re.Pattern[str], meaning: str) -> None:
    if value is None:
        raise ConfigError(f"--runner {RUNNER} needs --{name}=…: {meaning}.")
    if not form.fullmatch(value):
        raise ConfigError(f"--{name} should be {meaning}. Received: {value!r}")


def _check_bucket_name(option: str, path: str) -> None:
    if not _BUCKET.fullmatch(path):
        raise ConfigError(f"{option} should be gs://BUCKET/PATH for --runner {RUNNER}. Received: {path!r}")


def _packages(given: Flags) -> list[str]:
    """Returns the flags that give workers this program's code and versions.

    With a container image no flags are needed. Without one, the flags name a package to build, and every worker
    installs the hash-locked requirements and the package when it starts.
    """
    image = given["sdk_container_image"]
    if image is not None:
        _check_image(image)
        return []
    setup = pathlib.Path(given["setup_file"] or ROOT / "setup.py").absolute()  # absolute: Beam changes into its folder
    locked = pathlib.Path(given["requirements_file"] or setup.parent / "requirements.txt")
    if not setup.is_file() or not locked.is_file():
        raise ConfigError(
            f"--runner {RUNNER} needs --sdk_container_image=IMAGE:TAG, an image of engines/dataflow/Dockerfile (`make "
            f"dataflow IMAGE=…`). Without one, workers install this program from its repository, and {setup} or "
            f"{locked} is not there."
        )
    # "skip": the workers download the locked requirements. This machine does not, since its platform may differ.
    cache = given["requirements_cache"] or "skip"
    return [f"--setup_file={setup}", f"--requirements_file={locked}", f"--requirements_cache={cache}"]


def _check_image(image: str) -> None:
    if not _IMAGE.fullmatch(image):
        raise ConfigError(
            "--sdk_container_image should be an image's name, such as "
            f"REGION-docker.pkg.dev/PROJECT/REPOSITORY/shardmill:TAG. Received: {image!r}"
        )
    if ":" not in image.rpartition("/")[2]:
        raise ConfigError(
            f"--sdk_container_image should end in a tag or a digest: what `latest` means may change between the jobs "
            f"of one run. Received: {image!r}"
        )


def _cores(machine: str) -> int:
    """Returns the number of cores that the name of a machine type states.

    Examples of names are n2-standard-4 and n2-custom-8-16384. For names without a number it is that of MACHINE.
    """
    numbers = re.findall(r"-(\d+)", machine)
    return int(numbers[0]) if numbers else _cores(MACHINE)


def _reason(error: BaseException) -> str:
    """Returns the first line of a Google client's error as a sentence."""
    return f"{type(error).__name__}: {first_line(error).rstrip('. ')}."
