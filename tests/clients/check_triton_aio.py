"""tritonclient's aio flavours."""

import asyncio

import numpy as np
import pytest
import tritonclient.grpc.aio
import tritonclient.http.aio

FIRST = np.arange(16, dtype=np.int32).reshape(1, 16)
SECOND = np.ones((1, 16), np.int32)


@pytest.mark.parametrize("kind", [tritonclient.http.aio, tritonclient.grpc.aio], ids=["http", "grpc"])
def test_tritons_aio_clients(kind, http, grpc):
    async def main():
        address = http if kind is tritonclient.http.aio else grpc
        async with kind.InferenceServerClient(address) as client:
            assert await client.is_server_live()
            assert await client.is_server_ready()
            assert await client.is_model_ready("simple")
            assert "INPUT0" in str(await client.get_model_metadata("simple"))
            inputs = [kind.InferInput(name, [1, 16], "INT32") for name in ("INPUT0", "INPUT1")]
            inputs[0].set_data_from_numpy(FIRST)
            inputs[1].set_data_from_numpy(SECOND)
            results = await asyncio.gather(*(client.infer("simple", inputs) for _ in range(20)))
            for result in results:
                np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), FIRST + SECOND)
            with pytest.raises(tritonclient.utils.InferenceServerException, match="'nothing' is not served"):
                await client.infer("nothing", inputs)

    asyncio.run(main())


def test_tritons_aio_stream(grpc):
    kind = tritonclient.grpc.aio

    async def main():
        inputs = [kind.InferInput(name, [1, 16], "INT32") for name in ("INPUT0", "INPUT1")]
        inputs[0].set_data_from_numpy(FIRST)
        inputs[1].set_data_from_numpy(SECOND)

        async def requests():
            for number in range(10):
                yield {"model_name": "simple", "inputs": inputs, "request_id": str(number)}

        async with kind.InferenceServerClient(grpc) as client:
            answers = [pair async for pair in client.stream_infer(requests())]
        assert [error for _, error in answers if error] == []
        assert [result.get_response().id for result, _ in answers] == [str(number) for number in range(10)]

    asyncio.run(main())
