"""Functions that the pipelines of the tests name as stages."""

import asyncio
import threading

import numpy as np

started = threading.Event()
release = threading.Event()
cancelled = []


def double(tensors):
    return {"y": tensors["x"] * np.float32(2)}


async def negative(tensors):
    await asyncio.sleep(0)
    return {"y": -tensors["x"]}


def is_positive(tensors):
    return {"yes": tensors["x"][:, 0] > 0}


def wrong_shape(tensors):
    return {"y": tensors["x"][:, :1]}


def fails(tensors):
    raise KeyError("weights of the shop")


def in_place(tensors):
    tensors["x"] += 1
    return {"y": tensors["x"]}


def waits(tensors):
    started.set()
    assert release.wait(20)
    return {"y": tensors["x"]}


async def waits_for_ever(tensors):
    started.set()
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        cancelled.append(True)
        raise


def large(tensors):
    return {"y": np.repeat(tensors["x"], 2**18, axis=1)}


def narrow(tensors):
    return {"y": tensors["x"][:, :: 2**18]}
