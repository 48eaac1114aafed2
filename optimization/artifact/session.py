"""How an artifact's graph is run: settings that serving, and the check before publishing, share."""

import onnxruntime

CPU = "CPUExecutionProvider"
GPU = ("TensorrtExecutionProvider", "CUDAExecutionProvider")


def serving_options(num_threads: int) -> onnxruntime.SessionOptions:
    """Settings of a session of so many threads."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = num_threads
    settings.inter_op_num_threads = 1
    # Threads that spin for work take CPU from the other replicas of the node.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return settings
