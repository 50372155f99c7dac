"""The same model behind LitServe; run by an interpreter that has it: `python peer_litserve.py '{"model": ...}'`."""

import base64
import json
import sys

import litserve
import numpy as np
import onnxruntime

WANTED = json.loads(sys.argv[1])


class Whole(litserve.LitAPI):
    """One ONNX Runtime session in each worker, with the options that our tiers use."""

    def setup(self, device):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.enable_mem_pattern = False
        self.session = onnxruntime.InferenceSession(WANTED["model"], options, providers=["CPUExecutionProvider"])
        self.name = self.session.get_inputs()[0].name

    def decode_request(self, request):
        item = request["item"]
        data = item.file.read() if WANTED["body"] == "form" else base64.b64decode(item)
        return np.frombuffer(data, np.uint8).reshape(WANTED["shape"])

    def batch(self, inputs):
        return np.stack(inputs)

    def predict(self, item):
        alone = item.ndim == len(WANTED["shape"])
        (outputs,) = self.session.run(None, {self.name: item[None] if alone else item})
        return outputs[0] if alone else outputs

    def unbatch(self, output):
        return list(output)

    def encode_response(self, output):
        return {"output": base64.b64encode(output.astype(np.float32).tobytes()).decode()}


if __name__ == "__main__":
    api = Whole(max_batch_size=WANTED["batch"], batch_timeout=WANTED["delay_s"])
    server = litserve.LitServer(
        api, accelerator="cpu", workers_per_device=WANTED["workers"], timeout=WANTED["deadline_s"],
        fast_queue=WANTED["fast_queue"],
    )  # fmt: skip
    server.run(host="127.0.0.1", port=WANTED["port"], num_api_servers=1, log_level="error", generate_client_file=False)
