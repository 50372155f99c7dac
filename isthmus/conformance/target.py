"""The server that is asked: plain HTTP/1.1, plain gRPC, and what its metadata say of the model."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

import grpc

from isthmus.conformance.tensors import FIELDS, Declared, Tensor, from_elements, from_raw, sample
from protocol.errors import IsthmusError
from serving.oip import messages

HEADER_LENGTH: Final = "Inference-Header-Content-Length"
_TIMEOUT_S: Final = 60.0


class TargetUnusable(IsthmusError):
    """The server cannot be reached, or tells too little of itself to be asked more. For a person to read."""

    exit_code = 5


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json_bytes(self) -> bytes:
        """The JSON part of the body."""
        return self.body[: int(self.headers.get(HEADER_LENGTH.lower(), len(self.body)))]

    @property
    def binary(self) -> bytes:
        """What follows it."""
        return self.body[len(self.json_bytes) :]

    def json(self) -> Any:
        """The JSON part, parsed.

        Raises:
            ValueError: it is no JSON.
        """
        return json.loads(self.json_bytes)


@dataclass(frozen=True, slots=True)
class Described:
    """What metadata say of the model."""

    name: str
    versions: tuple[str, ...]
    inputs: tuple[Declared, ...]
    outputs: tuple[Declared, ...]


@dataclass(frozen=True, slots=True)
class Credentials:
    """PEM files for a server with TLS: whom to trust, and what to show where it asks."""

    ca: Path
    certificate: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """For HTTP.

        Raises:
            TargetUnusable: a file cannot be used.
        """
        try:
            made = ssl.create_default_context(cafile=str(self.ca))
            if self.certificate is not None:
                made.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as exc:
            raise TargetUnusable(f"the certificates given cannot be used: {exc}; name readable PEM files") from exc
        return made

    def channel(self) -> grpc.ChannelCredentials:
        """For gRPC.

        Raises:
            TargetUnusable: a file cannot be read.
        """
        try:
            mine = (None if path is None else path.read_bytes() for path in (self.key, self.certificate))
            return grpc.ssl_channel_credentials(self.ca.read_bytes(), *mine)
        except OSError as exc:
            raise TargetUnusable(f"the certificates given cannot be used: {exc}; name readable PEM files") from exc


class Target:
    """One server and one of its models.

    Args:
        rest: base URL of its REST door, http or https, or None.
        grpc_address: `host:port` of its gRPC door, or None.
        model: which model is asked; None takes the first of the repository's index.
        shapes: of inputs, where 1 does not do for their variable dimensions.
        credentials: for a server with TLS.

    Raises:
        TargetUnusable: the credentials' files cannot be used.
    """

    def __init__(
        self,
        rest: str | None,
        grpc_address: str | None,
        *,
        model: str | None = None,
        shapes: Mapping[str, Sequence[int]] | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        self.rest = rest
        self.grpc_address = grpc_address
        self._model = model
        self._shapes = dict(shapes or {})
        self._context = None if credentials is None else credentials.context()
        self._channel: grpc.Channel | None = None
        if grpc_address is not None and credentials is not None:
            self._channel = grpc.secure_channel(grpc_address, credentials.channel())
        elif grpc_address is not None:
            self._channel = grpc.insecure_channel(grpc_address)

    def close(self) -> None:
        """End the connection."""
        if self._channel is not None:
            self._channel.close()

    @contextmanager
    def connected(self) -> Iterator[http.client.HTTPConnection]:
        """A connection of one's own to the REST door."""
        assert self.rest is not None
        url = urlsplit(self.rest)
        host = url.hostname or ""
        if url.scheme == "https":
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, url.port or 443, timeout=_TIMEOUT_S, context=self._context
            )
        else:
            connection = http.client.HTTPConnection(host, url.port or 80, timeout=_TIMEOUT_S)
        try:
            yield connection
        finally:
            connection.close()

    def http(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request on a connection of its own.

        Raises:
            OSError, http.client.HTTPException: no answer.
        """
        with self.connected() as connection:
            connection.request(method, path, body=body, headers=dict(headers or {}))
            return answer_on(connection)

    def get(self, path: str) -> Answer:
        """GET."""
        return self.http("GET", path)

    def post(self, path: str, tree: object, headers: Mapping[str, str] | None = None) -> Answer:
        """POST of JSON."""
        return self.http(
            "POST", path, json.dumps(tree).encode(), {"Content-Type": "application/json"} | dict(headers or {})
        )

    def call(self, method: str, fields: Mapping[str, Any] | None = None) -> Any:
        """One unary gRPC call with the fields of its request.

        Raises:
            grpc.RpcError: it was refused.
        """
        request = messages.message(f"{method}Request")(**(fields or {}))
        return self.call_bytes(method, request.SerializeToString())

    def call_bytes(self, method: str, data: bytes, *, timeout_s: float = _TIMEOUT_S) -> Any:
        """The same with the request's bytes."""
        assert self._channel is not None
        answer = self._channel.unary_unary(f"/{messages.SERVICE}/{method}")(data, timeout=timeout_s)
        return messages.message(f"{method}Response").FromString(answer)

    def unknown_method(self) -> grpc.StatusCode:
        """The status that a method gets which is not in the protocol."""
        assert self._channel is not None
        try:
            self._channel.unary_unary(f"/{messages.SERVICE}/NoSuchMethod")(b"", timeout=_TIMEOUT_S)
        except grpc.RpcError as exc:
            return exc.code()
        return grpc.StatusCode.OK

    def stream(self, requests: Sequence[Mapping[str, Any]]) -> list[Any]:
        """All answers of a stream of inference requests."""
        assert self._channel is not None
        sent = [messages.ModelInferRequest(**request).SerializeToString() for request in requests]
        call = self._channel.stream_stream(f"/{messages.SERVICE}/ModelStreamInfer")
        return [messages.ModelStreamInferResponse.FromString(data) for data in call(iter(sent), timeout=_TIMEOUT_S)]

    @property
    def model(self) -> str:
        """The model's name."""
        return self.described.name

    @property
    def path(self) -> str:
        """The model's path."""
        return f"/v2/models/{quote(self.model, safe='')}"

    @cached_property
    def extensions(self) -> frozenset[str]:
        """What the server says that it offers.

        Raises:
            TargetUnusable: it does not say.
        """
        try:
            if self.rest is not None:
                return frozenset(self.get("/v2").json().get("extensions", ()))
            return frozenset(self.call("ServerMetadata").extensions)
        except (OSError, http.client.HTTPException, ValueError, AttributeError, grpc.RpcError) as exc:
            raise self._unusable("server metadata", exc) from exc

    @cached_property
    def described(self) -> Described:
        """The model's metadata.

        Raises:
            TargetUnusable: the server does not tell them.
        """
        try:
            return self._described_by_rest() if self.rest is not None else self._described_by_grpc()
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, grpc.RpcError) as exc:
            raise self._unusable("model metadata", exc) from exc

    def inputs(self, items: int = 1, *, seed: int = 0) -> list[Tensor]:
        """Values for every input of the model, `items` of them where the first dimension is variable."""
        return [sample(declared, self._shape(declared, items), seed + 17) for declared in self.described.inputs]

    @property
    def batches(self) -> bool:
        """Whether the first dimension of every tensor is variable."""
        described = self.described
        return all(tensor.shape[:1] == (-1,) for tensor in (*described.inputs, *described.outputs))

    def rest_request(self, items: int = 1, *, seed: int = 0, **fields: Any) -> dict[str, Any]:
        """A correct inference request as JSON."""
        return {"inputs": [json_input(tensor) for tensor in self.inputs(items, seed=seed)]} | fields

    def grpc_request(self, items: int = 1, *, raw: bool = True, seed: int = 0, **fields: Any) -> dict[str, Any]:
        """The fields of a correct `ModelInferRequest`."""
        tensors = self.inputs(items, seed=seed)
        told: dict[str, Any] = {"model_name": self.model, "inputs": [grpc_input(tensor, raw=raw) for tensor in tensors]}
        return told | ({"raw_input_contents": [tensor.raw for tensor in tensors]} if raw else {}) | fields

    def rest_outputs(self, request: object) -> list[Tensor]:
        """What a correct request gives, read from JSON."""
        answer = self.post(f"{self.path}/infer", request)
        if answer.status != 200:
            raise ValueError(f"a correct request gave status {answer.status}: {answer.body[:120]!r}")
        return outputs_of(answer)

    def _shape(self, declared: Declared, items: int) -> list[int]:
        shape = list(self._shapes.get(declared.name, [1 if one == -1 else one for one in declared.shape]))
        if items > 1:
            shape[0] = items
        return shape

    def _described_by_rest(self) -> Described:
        name = self._model
        if name is None:
            name = self.post("/v2/repository/index", {}).json()[0]["name"]
        tree = self.get(f"/v2/models/{quote(name, safe='')}").json()
        inputs, outputs = (
            tuple(Declared(one["name"], one["datatype"], tuple(one["shape"])) for one in tree[kind])
            for kind in ("inputs", "outputs")
        )
        return Described(name, tuple(tree.get("versions") or ()), inputs, outputs)

    def _described_by_grpc(self) -> Described:
        name = self._model or self.call("RepositoryIndex").models[0].name
        found = self.call("ModelMetadata", {"name": name})
        inputs, outputs = (
            tuple(Declared(one.name, one.datatype, tuple(one.shape)) for one in kind)
            for kind in (found.inputs, found.outputs)
        )
        return Described(name, tuple(found.versions), inputs, outputs)

    def _unusable(self, what: str, exc: Exception) -> TargetUnusable:
        where = self.rest or self.grpc_address
        why = exc.details() if isinstance(exc, grpc.Call) else f"{type(exc).__name__}: {exc}"
        return TargetUnusable(
            f"no {what} at {where} ({str(why)[:120]}); check the address, and name a model with --model"
        )


def json_input(tensor: Tensor) -> dict[str, Any]:
    """An input as JSON tells it."""
    return {"name": tensor.name, "shape": list(tensor.shape), "datatype": tensor.datatype, "data": tensor.flat}


def grpc_input(tensor: Tensor, *, raw: bool) -> dict[str, Any]:
    """An input as gRPC tells it; its raw contents are elsewhere."""
    told: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
    return told if raw else told | {"contents": {FIELDS[tensor.datatype]: tensor.values.ravel().tolist()}}


def outputs_of(answer: Answer) -> list[Tensor]:
    """The outputs of a REST answer, in JSON or binary.

    Raises:
        ValueError, KeyError: they are not what they say.
    """
    outputs, at = [], 0
    for output in answer.json()["outputs"]:
        name, datatype, shape = output["name"], output["datatype"], output["shape"]
        size = (output.get("parameters") or {}).get("binary_data_size")
        if size is None:
            outputs.append(from_elements(name, datatype, shape, output["data"]))
        else:
            outputs.append(from_raw(name, datatype, shape, answer.binary[at : at + size]))
            at += size
    return outputs


def grpc_outputs_of(answer: Any) -> list[Tensor]:
    """The outputs of a `ModelInferResponse`, raw or typed.

    Raises:
        ValueError: they are not what they say.
    """
    if answer.raw_output_contents:
        return [
            from_raw(output.name, output.datatype, output.shape, data)
            for output, data in zip(answer.outputs, answer.raw_output_contents, strict=True)
        ]
    return [
        from_elements(
            output.name, output.datatype, output.shape, list(getattr(output.contents, FIELDS[output.datatype]))
        )
        for output in answer.outputs
    ]


def answer_on(connection: http.client.HTTPConnection) -> Answer:
    """The next answer on a connection."""
    response = connection.getresponse()
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, headers, response.read())
