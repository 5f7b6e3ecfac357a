"""TensorFlow Serving's two protocols in front of a SavedModel, where its own server cannot be installed."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

LARGEST = 2**31 - 1


class _Predictor(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, model):
        self.model = model

    def Predict(self, request, context):
        function = self.model.signatures[request.model_spec.signature_name or "serving_default"]
        out = function(**{k: tf.constant(tf.make_ndarray(v)) for k, v in request.inputs.items()})
        answer = predict_pb2.PredictResponse()
        for name, value in out.items():
            answer.outputs[name].CopyFrom(tf.make_tensor_proto(value.numpy()))
        return answer


@contextmanager
def grpc_server(model) -> Iterator[int]:
    """Its port."""
    limits = [("grpc.max_receive_message_length", LARGEST)]  # as the real one has it
    server = grpc.server(ThreadPoolExecutor(1), options=limits)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(_Predictor(model), server)
    port = server.add_insecure_port("localhost:0")
    server.start()
    yield port
    server.stop(None).wait()


@contextmanager
def rest_server(model) -> Iterator[int]:
    """Its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            inputs = {k: tf.constant(np.array(v, np.float32)) for k, v in body["inputs"].items()}
            out = model.signatures[body["signature_name"]](**inputs)
            answer = json.dumps({"outputs": {k: v.numpy().tolist() for k, v in out.items()}}).encode()
            self.send_response(200 if self.path == "/v1/models/hippocampus:predict" else 404)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    server = HTTPServer(("localhost", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
