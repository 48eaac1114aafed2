"""KServe's own REST and gRPC clients. Apart from Triton's: both define the protocol's messages, which one process bears
once.
"""

import asyncio

import numpy as np
import pytest
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
from tensors import DATATYPES, example, text

FIRST = np.arange(16, dtype=np.int32).reshape(1, 16)
SECOND = np.ones((1, 16), np.int32)


def requests(binary):
    tensors = [InferInput(name, [1, 16], "INT32") for name in ("INPUT0", "INPUT1")]
    tensors[0].set_data_from_numpy(FIRST, binary_data=binary)
    tensors[1].set_data_from_numpy(SECOND, binary_data=binary)
    return InferRequest(model_name="simple", infer_inputs=tensors, request_id="7")


def outputs(response):
    return {output.name: output.as_numpy() for output in response.outputs}


@pytest.mark.parametrize("binary", [True, False])
def test_kserves_rest_client(http, binary):
    async def main():
        client = InferenceRESTClient(RESTConfig(protocol="v2"))
        url = f"http://{http}"
        assert await client.is_server_live(url)
        assert await client.is_server_ready(url)
        assert await client.is_model_ready(url, "simple")
        response = await client.infer(url, requests(binary), model_name="simple")
        np.testing.assert_array_equal(outputs(response)["OUTPUT0"].reshape(1, 16), FIRST + SECOND)
        assert response.id == "7"
        await client.close()

    asyncio.run(main())


@pytest.mark.parametrize("binary", [True, False])
def test_kserves_grpc_client(grpc, binary):
    async def main():
        async with InferenceGRPCClient(grpc) as client:
            assert await client.is_server_live()
            assert await client.is_server_ready()
            assert await client.is_model_ready("simple")
            response = await client.infer(requests(binary))
            np.testing.assert_array_equal(outputs(response)["OUTPUT1"].reshape(1, 16), FIRST - SECOND)

    asyncio.run(main())


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_kserves_clients_with_every_datatype_they_know(http, grpc, protocol):
    async def main():
        tensors = []
        for datatype in (*DATATYPES, "BYTES"):
            tensor = InferInput(f"in_{datatype}", [2, 2], datatype)
            tensor.set_data_from_numpy(example(datatype), binary_data=True)
            tensors.append(tensor)
        request = InferRequest(model_name="same", infer_inputs=tensors)
        if protocol == "rest":
            client = InferenceRESTClient(RESTConfig(protocol="v2"))
            response = await client.infer(f"http://{http}", request, model_name="same")
        else:
            client = InferenceGRPCClient(grpc)
            response = await client.infer(request)
        await client.close()
        found = {output.name: output for output in response.outputs}
        for datatype in DATATYPES:
            array = found[f"out_{datatype}"].as_numpy().reshape(2, 2)
            np.testing.assert_array_equal(array, example(datatype), err_msg=datatype)
        assert text(found["out_BYTES"].as_numpy().reshape(2, 2)) == text(example("BYTES"))

    asyncio.run(main())
