"""The HTTP surface under schemathesis: requests made from the API's own document, and spoiled."""

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from nacelle_runtime.frontends.openai.document import document

pytestmark = pytest.mark.slow
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
OPERATIONS = [
    result.ok() for result in schemathesis.openapi.from_dict(document("tiny")).get_all_operations()
]


def test_a_server_gives_its_document(shared_server):
    assert shared_server.http.get("/openapi.json").json() == document("tiny")


# Only what has a body can be spoiled.
CASES = [
    *((operation, GenerationMode.POSITIVE) for operation in OPERATIONS),
    *((one, GenerationMode.NEGATIVE) for one in OPERATIONS if one.method == "post"),
]


@pytest.mark.parametrize(
    ("operation", "mode"), CASES, ids=[f"{one.label} {mode.value}" for one, mode in CASES]
)
def test_what_the_document_allows_and_what_it_does_not(shared_server, operation, mode):
    @given(operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=60 if operation.method == "post" else 3,
        deadline=None,
        derandomize=True,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    def check(case):
        answer = case.call(base_url=shared_server.url, timeout=30)
        case.validate_response(answer, checks=CHECKS)

    check()
    shared_server.until(lambda: shared_server.metric("nacelle_kv_blocks_used") == 0)
