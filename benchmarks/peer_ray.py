"""The same model behind Ray Serve; run by an interpreter that has it: `python peer_ray.py '{"model": ..., ...}'`."""

import json
import os
import signal
import sys

WANTED = json.loads(sys.argv[1])
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
if WANTED["fast"]:
    os.environ["RAY_SERVE_THROUGHPUT_OPTIMIZED"] = "1"

import numpy as np  # noqa: E402 - Ray reads its environment when it is imported
import onnxruntime  # noqa: E402
import ray  # noqa: E402
from ray import serve  # noqa: E402
from starlette.requests import Request  # noqa: E402
from starlette.responses import Response  # noqa: E402


@serve.deployment(
    num_replicas=WANTED["replicas"], max_ongoing_requests=WANTED["ongoing"], ray_actor_options={"num_cpus": 0.1}
)
class Whole:
    """One ONNX Runtime session in each replica, with the options that our tiers use."""

    def __init__(self, wanted):
        self.wanted = wanted
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.enable_mem_pattern = False
        self.session = onnxruntime.InferenceSession(wanted["model"], options, providers=["CPUExecutionProvider"])
        self.name = self.session.get_inputs()[0].name

    def run(self, items):
        return self.session.run(None, {self.name: items})[0]

    @serve.batch(max_batch_size=max(2, WANTED["batch"]), batch_wait_timeout_s=WANTED["delay_s"])
    async def batched(self, items):
        return list(self.run(np.stack(items)))

    async def __call__(self, request: Request) -> Response:
        item = np.frombuffer(await request.body(), np.uint8).reshape(self.wanted["shape"])
        output = self.run(item[None])[0] if self.wanted["batch"] == 1 else await self.batched(item)
        return Response(output.astype(np.float32).tobytes(), media_type="application/octet-stream")


if __name__ == "__main__":
    ray.init(address="local", num_cpus=4, object_store_memory=256 << 20, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": WANTED["port"], "request_timeout_s": WANTED["deadline_s"]})
    serve.run(Whole.bind(WANTED), name="whole", route_prefix="/")
    print("ready", flush=True)
    signal.pause()
