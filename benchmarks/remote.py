"""How long `prepare` takes with photographs in a store that answers late.

    SHARDMILL_DATA=/folder python benchmarks/remote.py [--count 400] [--latency 0.03] [--runs 3]

The store is an emulated S3 (moto) on this machine, which waits before it answers a request for a photograph. It takes a
part of the same cores, so a real store is faster where it is not the latency that counts.
"""

from __future__ import annotations

import argparse
import logging
import pathlib
import statistics
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import measure  # noqa: E402

BUCKET = "photographs"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--count", type=int, default=400, help="photographs")
    parser.add_argument("--latency", type=float, default=0.03, help="seconds from a request to its answer")
    parser.add_argument("--runs", type=int, default=3)
    arguments, flags = parser.parse_known_args()
    from moto.moto_server import threaded_moto_server
    from moto.server import ThreadedMotoServer

    class Late(threaded_moto_server.MotoRequestHandler):
        def run_wsgi(self) -> None:
            if self.command == "GET" and self.path.endswith(".jpg"):
                time.sleep(arguments.latency)
            super().run_wsgi()

    threaded_moto_server.MotoRequestHandler = Late
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it would print a line for each request
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    store = ["--s3_endpoint_url", f"http://{host}:{port}", "--s3_access_key_id", "k", "--s3_secret_access_key", "s"]
    upload(arguments.count, f"http://{host}:{port}")
    walls = []
    for _ in range(arguments.runs):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "pipelines", "prepare", "--input", f"s3://{BUCKET}", "--size", "128x128"]
            cost = measure.run([*command, "--output", f"{folder}/out", "--encoding", "uint8", *store, *flags])
            walls.append(cost.wall)
            print(f"wall {cost.wall:.1f} s, CPU {cost.cpu:.1f} s", flush=True)
    print(f"median {statistics.median(walls):.1f} s")
    server.stop()


def upload(count: int, endpoint: str) -> None:
    import boto3

    client = boto3.client(
        "s3", endpoint_url=endpoint, aws_access_key_id="k", aws_secret_access_key="s", region_name="us-east-1"
    )
    client.create_bucket(Bucket=BUCKET)
    with tempfile.TemporaryDirectory() as folder:
        for path in measure.collect(pathlib.Path(folder), count):
            client.put_object(Bucket=BUCKET, Key=f"{path.parent.name}/{path.name}", Body=path.read_bytes())


if __name__ == "__main__":
    main()
