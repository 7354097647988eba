"""What tests ask of a Triton server, by Triton's own gRPC client."""

import queue

import numpy as np
import tritonclient.grpc as grpcclient
from tritonclient.utils import np_to_triton_dtype

TYPES = {
    **dict.fromkeys(("text_input", "stop_words", "bad_words", "embedding_bias_words"), np.object_),
    **dict.fromkeys(("temperature", "top_p", "runtime_top_p", "min_p"), np.float32),
    **dict.fromkeys(("repetition_penalty", "presence_penalty", "len_penalty"), np.float32),
    **dict.fromkeys(("embedding_bias", "embedding_bias_weights"), np.float32),
    **dict.fromkeys(("stream", "streaming", "stop", "return_log_probs"), np.bool_),
    **dict.fromkeys(("exclude_input_in_output", "return_context_logits"), np.bool_),
    **dict.fromkeys(("seed", "random_seed"), np.uint64),
}
DEADLINE = 30


def tensor(name, value):
    """An input with the batch dimension; a nested list keeps its shape."""
    array = np.array(value, dtype=TYPES.get(name, np.int32))
    array = array.reshape(1, *(array.shape or (1,)))
    made = grpcclient.InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
    made.set_data_from_numpy(array)
    return made


class Stream:
    """One gRPC stream: requests go in, responses come out in the order they arrive."""

    def __init__(self, address):
        self.client = grpcclient.InferenceServerClient(address)
        self._arrived = queue.Queue()
        self.client.start_stream(lambda result, error: self._arrived.put((result, error)))

    def ask(self, model, request_id="", **fields):
        """Send a request."""
        self.client.async_stream_infer(
            model,
            [tensor(name, value) for name, value in fields.items()],
            request_id=request_id,
            enable_empty_final_response=True,
        )

    def next(self):
        """(outputs by name, final) of the next response; raises what it is when it is an error."""
        result, error = self._arrived.get(timeout=DEADLINE)
        if error is not None:
            raise error
        response = result.get_response()
        names = [output.name for output in response.outputs]
        values = {name: result.as_numpy(name).reshape(-1).tolist() for name in names}
        return values, response.parameters["triton_final_response"].bool_param

    def responses(self, model, **fields):
        """All responses to a request, empty ones left out."""
        self.ask(model, **fields)
        found, final = [], False
        while not final:
            values, final = self.next()
            found += [values] if values else []
        return found

    def close(self, *, cancel=False):
        """End the stream; with `cancel` what still runs is cancelled."""
        self.client.stop_stream(cancel_requests=cancel)
        self.client.close()
